"""The pydantic models of a script for one endpoint."""

from pydantic import BaseModel


class Result(BaseModel):
    object: str
    input_tokens: int
    input_cached_tokens: int | None = None
    input_cache_write_tokens: int | None = None
    input_uncached_tokens: int | None = None
    output_tokens: int
    input_text_tokens: int | None = None
    output_text_tokens: int | None = None
    input_cached_text_tokens: int | None = None
    input_audio_tokens: int | None = None
    input_cached_audio_tokens: int | None = None
    output_audio_tokens: int | None = None
    input_image_tokens: int | None = None
    input_cached_image_tokens: int | None = None
    output_image_tokens: int | None = None
    num_model_requests: int
    project_id: str | None = None
    user_id: str | None = None
    api_key_id: str | None = None
    model: str | None = None
    batch: bool | None = None
    service_tier: str | None = None


class Bucket(BaseModel):
    object: str
    start_time: int
    end_time: int
    results: list[Result]


class Page(BaseModel):
    object: str
    data: list[Bucket]
    has_more: bool
    next_page: str | None = None
