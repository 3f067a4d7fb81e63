# SPDX-License-Identifier: MIT
"""Tiny models of the families that check_llama_cpp.py checks: a configuration as their makers publish it, and the
tensors' names and shapes."""

PLAIN = dict(vocab_size=300, hidden_size=80, intermediate_size=100, num_hidden_layers=3, num_attention_heads=4,
             num_key_value_heads=2, max_position_embeddings=512, rms_norm_eps=1e-5, hidden_act="silu",
             bos_token_id=None, eos_token_id=257, torch_dtype="float32", rope_theta=10000.0, tie_word_embeddings=False)


def each(config, layers=None, **shapes):
    """Tensors of each layer; `_` in a name stands for a dot."""
    return {f"model.layers.{layer}.{name}": shape
            for layer in (layers if layers is not None else range(config["num_hidden_layers"]))
            for name, shape in shapes.items()}


def llama(config, biases=(), head=None):
    """Llama's tensors under Hugging Face's names."""
    d, ff, vocab = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    head = head or config.get("head_dim", d // config["num_attention_heads"])
    q, k = config["num_attention_heads"] * head, config["num_key_value_heads"] * head
    tensors = {"model.embed_tokens.weight": (vocab, d), "model.norm.weight": (d,)}
    if not config["tie_word_embeddings"]:
        tensors["lm_head.weight"] = (vocab, d)
    tensors |= each(config, **{
        "input_layernorm.weight": (d,), "self_attn.q_proj.weight": (q, d), "self_attn.k_proj.weight": (k, d),
        "self_attn.v_proj.weight": (k, d), "self_attn.o_proj.weight": (d, q), "post_attention_layernorm.weight": (d,),
        "mlp.gate_proj.weight": (ff, d), "mlp.up_proj.weight": (ff, d), "mlp.down_proj.weight": (d, ff)})
    tensors |= {f"{name.removesuffix('weight')}bias": shape[:1] for name, shape in tensors.items()
                if any(f"{bias}.weight" in name for bias in biases)}
    return tensors


def without(tensors, *parts):
    return {name: shape for name, shape in tensors.items() if not any(part in name for part in parts)}


def config(architecture, kind, **changes):
    return PLAIN | {"architectures": [architecture], "model_type": kind} | changes


def experts(config, layers, count, width, shared, names):
    """Experts and one for all, under the names `names` of a layer's part, its router, gate, up and down."""
    d, (part, router, gate, up, down) = config["hidden_size"], names
    tensors = {f"{part}.{router}.weight": (count, d)}
    for place, size in [(f"experts.{number}", width) for number in range(count)] + ([("shared_experts", shared)] if shared else []):
        tensors |= {f"{part}.{place}.{gate}.weight": (size, d), f"{part}.{place}.{up}.weight": (size, d),
                    f"{part}.{place}.{down}.weight": (d, size)}
    return each(config, layers, **tensors)


def internlm2():
    made = config("InternLM2ForCausalLM", "internlm2", bias=False, rope_theta=1000000.0,
                  rope_scaling={"type": "dynamic", "factor": 2.0})
    return made, {"model.tok_embeddings.weight": (300, 80), "output.weight": (300, 80), "model.norm.weight": (80,)} | each(made, **{
        "attention_norm.weight": (80,), "attention.wqkv.weight": (160, 80), "attention.wo.weight": (80, 80),
        "ffn_norm.weight": (80,), "feed_forward.w1.weight": (100, 80), "feed_forward.w3.weight": (100, 80),
        "feed_forward.w2.weight": (80, 100)})


def baichuan():
    made = config("BaiChuanForCausalLM", "baichuan", num_hidden_layers=32, hidden_size=48, intermediate_size=64,
                  num_key_value_heads=4, rms_norm_eps=1e-6)
    tensors = without(llama(made), "q_proj", "k_proj", "v_proj")
    return made, tensors | each(made, **{"self_attn.W_pack.weight": (144, 48)})


def xverse():
    made = config("XverseForCausalLM", "xverse", num_key_value_heads=4, rms_norm_eps=1e-6)
    return made, llama(made)


def orion():
    made = config("OrionForCausalLM", "orion")
    return made, llama(made, biases=("input_layernorm", "post_attention_layernorm", "model.norm"))


def pangu():
    made = config("PanguEmbeddedForCausalLM", "PanguEmbedded", bias=True, rope_theta=16000000.0)
    return made, llama(made, biases=("q_proj", "k_proj", "v_proj", "o_proj"))


def maincoder():
    made = config("MaincoderForCausalLM", "maincoder", head_dim=24, use_qk_norm=True, tie_word_embeddings=True)
    return made, llama(made) | each(made, **{"self_attn.q_norm.weight": (24,), "self_attn.k_norm.weight": (24,)})


def nanbeige(loops, **changes):
    made = config("NanbeigeForCausalLM", "nanbeige", num_loops=loops, num_hidden_layers=2, **changes)
    return made, llama(made)


def deepseek():
    made = config("DeepseekForCausalLM", "deepseek", rms_norm_eps=1e-6, n_routed_experts=6, n_shared_experts=2,
                  num_experts_per_tok=3, moe_intermediate_size=40, first_k_dense_replace=1, moe_layer_freq=1,
                  norm_topk_prob=False, scoring_func="softmax", aux_loss_alpha=0.001, seq_aux=True)
    tensors = {name: shape for name, shape in llama(made).items() if ".mlp." not in name or ".0.mlp." in name}
    return made, tensors | experts(made, (1, 2), 6, 40, 80, ("mlp", "gate", "gate_proj", "up_proj", "down_proj"))


def bailingmoe(normed):
    made = config("BailingMoeForCausalLM", "bailing_moe", head_dim=24, num_experts=6, num_experts_per_tok=2,
                  num_shared_experts=2, moe_intermediate_size=40, first_k_dense_replace=0, norm_topk_prob=normed,
                  use_bias=False, use_qkv_bias=False, norm_head=False, rope_theta=600000.0, num_hidden_layers=2)
    tensors = without(llama(made), ".mlp.", "self_attn", "embed_tokens")
    return made, tensors | {"model.word_embeddings.weight": (300, 80)} | each(made, **{
        "attention.query_key_value.weight": (192, 80), "attention.dense.weight": (80, 96)}) | experts(
            made, None, 6, 40, 80, ("mlp", "gate", "gate_proj", "up_proj", "down_proj"))


def smallthinker(softmax, windows):
    made = config("SmallThinkerForCausalLM", "smallthinker", head_dim=24, moe_num_primary_experts=6,
                  moe_num_active_primary_experts=2, moe_ffn_hidden_size=40, norm_topk_prob=True,
                  moe_primary_router_apply_softmax=softmax, num_hidden_layers=5, tie_word_embeddings=True,
                  moe_layer_layout=[1] * 5, sliding_window_layout=[0, 1, 1, 1, 0] if windows else [0] * 5,
                  rope_layout=[0, 1, 1, 1, 0] if windows else [1] * 5, sliding_window_size=4096)
    del made["intermediate_size"], made["hidden_act"]
    tensors = without(llama(made | {"intermediate_size": 40}), ".mlp.")
    return made, tensors | experts(made, None, 6, 40, 0, ("block_sparse_moe", "primary_router", "gate", "up", "down"))


MODELS = {
    "internlm2-plain": internlm2(),
    "baichuan-plain": baichuan(),
    "xverse-plain": xverse(),
    "orion-plain": orion(),
    "pangu-plain": pangu(),
    "maincoder-plain": maincoder(),
    "nanbeige-loops": nanbeige(3),
    "nanbeige-once": nanbeige(2, skip_loop_final_norm=True),
    "deepseek-plain": deepseek(),
    "bailingmoe-plain": bailingmoe(True),
    "bailingmoe-sums": bailingmoe(False),
    "smallthinker-windows": smallthinker(False, True),
    "smallthinker-softmax": smallthinker(True, False),
}
