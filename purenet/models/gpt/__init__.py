"""GPT: the network and its objective, text token by token, and files of published weights."""

from .config import GPT_SIZES as GPT_SIZES, GPTConfig as GPTConfig
from .decoding import Cache as Cache, decode_step as decode_step, generate as generate, prefill as prefill
from .files import load_gpt as load_gpt, save_gpt as save_gpt
from .network import gpt as gpt, gpt_objective as gpt_objective
