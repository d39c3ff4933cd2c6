"""The five systems, one package each. Methods never import each other."""
