"""Networks people know, made of the library's layers: each is a function that returns a `Layer`."""

from .autoencoder import autoencoder as autoencoder
from .char_rnn import char_rnn as char_rnn
from .class_token import class_token as class_token, first_token as first_token
from .gaussian import gaussian_kl as gaussian_kl, gaussian_sample as gaussian_sample
from .lenet import lenet as lenet
from .mlp import mlp as mlp
from .mlp_mixer import mlp_mixer as mlp_mixer
from .resnet import resnet as resnet, widening_shortcut as widening_shortcut
from .vae import decode as decode, negative_elbo as negative_elbo, vae as vae
from .vit import vit as vit
