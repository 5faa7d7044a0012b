"""Captions that say there is a thing, or a style, and nothing more."""

from diffusers import StableDiffusionPipeline

# The neutral captions of Textual Inversion: there is a thing, and nothing about it.
TEMPLATES = (
    "a photo of a clean {}", "a photo of a cool {}", "a photo of a dirty {}",
    "a photo of a nice {}", "a photo of a small {}", "a photo of a {}",
    "a photo of my {}", "a photo of one {}", "a photo of the clean {}",
    "a photo of the cool {}", "a photo of the large {}", "a photo of the nice {}",
    "a photo of the small {}", "a photo of the weird {}", "a photo of the {}",
    "the photo of a {}", "a bright photo of the {}", "a close-up photo of a {}",
    "a close-up photo of the {}", "a cropped photo of a {}",
    "a cropped photo of the {}", "a dark photo of the {}", "a good photo of a {}",
    "a good photo of the {}", "a rendering of a {}", "a rendition of a {}",
    "a rendition of the {}",
)  # fmt: skip
# Its captions for a style. The authors' list says two of them twice.
STYLE_TEMPLATES = (
    "a painting in the style of {}", "a rendering in the style of {}",
    "a cropped painting in the style of {}", "the painting in the style of {}",
    "a clean painting in the style of {}", "a dirty painting in the style of {}",
    "a dark painting in the style of {}", "a picture in the style of {}",
    "a cool painting in the style of {}", "a close-up painting in the style of {}",
    "a bright painting in the style of {}", "a good painting in the style of {}",
    "a rendition in the style of {}", "a nice painting in the style of {}",
    "a small painting in the style of {}", "a weird painting in the style of {}",
    "a large painting in the style of {}",
)  # fmt: skip


def style_templates(base: StableDiffusionPipeline) -> tuple[str, ...]:
    """The neutral captions for a style, in words that the base knows.

    A base without the word "style", such as ours, reads "a painting in <art>" for "a
    painting in the style of <art>": the pieces of an unknown word would disturb it. On
    ours, neutral captions do not suffice all the same; a style is learned there with
    captions of one's own that name what is in each picture ("a <art> of a cat").
    """
    if len(base.tokenizer.tokenize("style")) == 1:
        return STYLE_TEMPLATES
    return tuple(text.replace("the style of ", "") for text in STYLE_TEMPLATES)
