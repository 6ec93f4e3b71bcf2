"""Datadog's own models (datadog-api-client) as judges of what is made for its API.

The models let keys pass that they do not know, so a document is also walked beside the `attribute_map` of each model.
"""

from collections.abc import Iterator
from typing import Any

from datadog_api_client.configuration import Configuration
from datadog_api_client.model_utils import ModelComposed, ModelNormal, UnparsedObject, validate_and_convert_types


def parsed(model: type[Any], document: Any) -> Any:
    """The document as an instance of this model. Raises what the model raises."""
    judge: Any = validate_and_convert_types  # untyped, like what follows
    configuration: Any = Configuration
    return judge(document, (model,), ["document"], True, True, configuration())


def faults(model: type[Any], document: Any) -> list[str]:
    """What the model could not parse, and every key that it does not know; empty for a document that is right."""
    return list(_faults(parsed(model, document), document, "document"))


def _faults(made: Any, document: Any, path: str) -> Iterator[str]:
    if isinstance(made, UnparsedObject) or getattr(made, "_unparsed", False):
        yield f"{path} is not parsed"
    elif isinstance(made, ModelComposed):
        yield from _faults(made.get_oneof_instance(), document, path)  # type: ignore[no-untyped-call]
    elif isinstance(made, ModelNormal):
        attributes = {key: name for name, key in made.attribute_map.items()}
        for key, value in document.items():
            if key in attributes:
                yield from _faults(getattr(made, attributes[key]), value, f"{path}.{key}")
            else:
                yield f"{path} has no {key}"
    elif isinstance(document, list):
        for index, (one, value) in enumerate(zip(made, document, strict=True)):
            yield from _faults(one, value, f"{path}[{index}]")
    elif isinstance(document, dict):
        yield f"{path} is an object of no model"
