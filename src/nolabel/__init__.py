"""Scene understanding without human labels on the data at hand.

``nolabel.load(system, weights=...)`` returns a model that takes images and gives results; every stage behind it
is a function below :mod:`nolabel.methods` and a command of ``nolabel``.
"""

__version__ = "0.1.0"
