"""What each error code means: the one table.  Codes are for ever; a code is never given a second meaning."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

SECRET_IN_FILE = "BF070"
UNMATCHED_DATASET = "BF071"

CODES: Mapping[str, str] = MappingProxyType(
    {
        # reading the file
        "BF001": "the file cannot be read: it is missing, is a folder or is not readable",
        "BF002": "the file is not UTF-8 text",
        "BF003": "the file is larger or more deeply nested than any workflow needs, and is refused before it is parsed",
        "BF004": "the file is not valid TOML",
        # shape and types
        "BF010": "a value has the wrong type",
        "BF011": "a value is outside its range or not one of the allowed ones",
        "BF012": "a key is unknown",
        "BF013": "a required key is missing",
        "BF014": "a name has characters or a length that names may not have",
        "BF015": "the key or value is part of the format but not yet supported",
        "BF016": "keys exclude each other or belong to another kind of step, dataset or format",
        # parameters
        "BF020": "the parameter or key to set is not declared in the workflow file",
        "BF021": "a parameter without a default was given no value",
        "BF022": "a parameter's value does not fit its declaration",
        "BF023": "a parameter's declaration contradicts itself",
        "BF024": "a --set argument or a parameters file is malformed",
        # references
        "BF030": "a reference names something that the workflow file does not declare",
        "BF031": "a reference has an unknown namespace",
        "BF032": "a reference may not stand in this place",
        "BF033": "the value of a reference cannot be inserted in this place",
        # the graph of steps
        "BF040": "a step or target of this name does not exist",
        "BF041": "steps depend on each other in a cycle",
        "BF042": "two outputs are one, lie in each other, or have a name that the other takes while it is made",
        "BF043": "this output would destroy the workflow file, an input or our own records, or become an input itself",
        "BF044": "a step reads what another step writes but does not wait for it",
        # files
        "BF050": "an input does not exist and no step makes it",
        "BF051": "an entry script or the module of a `call` step is missing or cannot be parsed",
        "BF052": "the entry script has no usable run()",
        "BF053": "the function of a `call` step is missing or cannot be called with (inputs, outputs, args)",
        "BF054": "a model does not exist and no step makes it",
        # the parallel step
        "BF060": "it is not clear which input of the parallel step is split",
        "BF061": "it is not clear which output of the parallel step takes the rows",
        "BF062": "the format of the rows cannot be told from the name of the output",
        "BF063": "the inputs that a parallel step splits are not of one kind",
        "BF064": "how a table is written cannot be told from the names of its files",
        "BF065": "a column or a partition key is not among those that a dataset has",
        # warnings: nothing is refused
        SECRET_IN_FILE: "a password, key or token stands in the file, where everybody who can read the file finds it",
        UNMATCHED_DATASET: "a dataset matches no file, and no step makes one for it",
    }
)
