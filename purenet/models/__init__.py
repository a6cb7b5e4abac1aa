"""Networks people know, made of the library's layers: each is a function that returns a `Layer`."""

from .autoencoder import autoencoder as autoencoder
from .char_rnn import char_rnn as char_rnn
from .class_token import class_token as class_token, first_token as first_token
from .gaussian import gaussian_kl as gaussian_kl, gaussian_sample as gaussian_sample
from .gpt import (
    GPT_SIZES as GPT_SIZES,
    Cache as Cache,
    GPTConfig as GPTConfig,
    decode_step as decode_step,
    generate as generate,
    gpt as gpt,
    gpt_objective as gpt_objective,
    load_gpt as load_gpt,
    prefill as prefill,
    save_gpt as save_gpt,
)
from .lenet import lenet as lenet
from .mlp import mlp as mlp
from .mlp_mixer import mlp_mixer as mlp_mixer
from .resnet import resnet as resnet, widening_shortcut as widening_shortcut
from .vae import decode as decode, negative_elbo as negative_elbo, vae as vae
from .vit import vit as vit
