"""The ground of every model of `setting.json`, and the kinds of values that several of them share."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from reconciler.core.fields import Whole

Port = Annotated[Whole, Field(ge=1, le=65_535)]
Seconds = Annotated[float, Field(ge=0)]


class SettingPart(BaseModel):
    """A part of `setting.json`: unknown keys are kept, because the product is larger than these models."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True, alias_generator=to_camel)
