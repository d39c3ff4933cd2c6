"""unMORE: from unlabelled photographs to objects and a class-agnostic detector (Yang et al., ICML 2025)."""
