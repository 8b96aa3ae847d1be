"""Layers, as in OCI images: tars that are laid one upon another as data. Nothing of one is unpacked here.

tars.py       opening tars of every compression, packing layers
tar_reader.py members of a tar, strictly; tar_sparse.py where the data of sparse ones lies; tar_writer.py the way back
layering.py   a root in memory, with links, whiteouts and everything a hostile layer may try
merge.py      layers become one flat tar, and its list
tree.py       that list: its text, its digest, the differences of two
"""
