"""Co-Training (Gomez et al., Sensors 2023): two networks teach each other the labels of a domain that has none.

Label maps inside this package hold the classes 0 .. C-1 and C for void, because the network may have a logit for
void and every array "per label" has C + 1 entries. Files and datasets hold 255 for void, as everywhere;
:mod:`~nolabel.data.void_labels` goes from one to the other.
"""
