# SPDX-License-Identifier: MIT
"""Tiny configurations of the families that check_family.py checks, several of each: what an architecture
can have is on in one and off in another, and no number is neutral where it counts."""

PLAIN = dict(vocab_size=300, hidden_size=80, intermediate_size=100, num_hidden_layers=4,
             num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=512,
             tie_word_embeddings=False, bos_token_id=None, eos_token_id=257, pad_token_id=None)


def config(**changes):
    return {"config": dict(PLAIN, **changes)}


def own(**changes):
    """Of classes that have other names for some of these."""
    return {"config": dict({key: value for key, value in PLAIN.items() if "key_value" not in key and
                            "intermediate" not in key}, num_hidden_layers=2, **changes)}


def computed(variant):
    """Of which a converter computes a number, so that a GGUF has it rounded."""
    return dict(variant, apart=1e-3)


def calm(variant):
    """Of which scores are not divided by the root of a head's width: they would leave all to one position, and
    to how its key was rounded."""
    return dict(variant, around={"q_norm": 0.3, "k_norm": 0.3, "layer_scalar": 0.8})


def latent(variant):
    """Of whose latent vectors the norms add 1e-6 in transformers, and the model's epsilon where a GGUF is read, as in
    llama.cpp."""
    return dict(variant, apart=5e-3)


def without_mtp(variant):
    """Of which a converter would look for the next-token block, and computes A. With one it is tried, too."""
    return dict(computed(variant), convert=["--no-mtp"], mtp=True)


def without_gguf(variant):
    """Of what a GGUF can't say."""
    return dict(variant, gguf=False)


# What published configurations say, and a converter asks; transformers' class does not.
NOAUX = dict(scoring_func="sigmoid", topk_method="noaux_tc")

FAMILIES = {
    "llama": {"variants": {
        "plain": config(head_dim=20),
        "tied": config(tie_word_embeddings=True, num_key_value_heads=4),
        "biases": config(attention_bias=True, mlp_bias=True, num_hidden_layers=3, rope_parameters={
            "rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 32}),
    }},
    "granite": {"variants": {
        "plain": config(embedding_multiplier=3.0, residual_multiplier=0.3, logits_scaling=2.5,
                        attention_multiplier=0.11),
        "tied": config(tie_word_embeddings=True, embedding_multiplier=6.0, residual_multiplier=0.22,
                       logits_scaling=8.0, attention_multiplier=0.3, num_key_value_heads=1),
        "defaults": config(),
        "biases": config(attention_bias=True, mlp_bias=True, attention_multiplier=0.2),
        "linear": config(attention_multiplier=0.2, rope_parameters={
            "rope_type": "linear", "rope_theta": 10000.0, "factor": 3.0}),
        "dynamic": without_gguf(config(attention_multiplier=0.2, max_position_embeddings=40, rope_parameters={
            "rope_type": "dynamic", "rope_theta": 10000.0, "factor": 4.0})),
        "llama3": without_gguf(config(attention_multiplier=0.2, rope_parameters={
            "rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 32})),
        "yarn": config(attention_multiplier=0.2, rope_parameters={
            "rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 32}),
    }},
    "smollm3": {"variants": {
        "plain": config(head_dim=20),
        "interval": without_gguf(config(no_rope_layer_interval=2, tie_word_embeddings=True)),
        "list": without_gguf(config(no_rope_layers=[0, 1, 1, 0])),
        "window": without_gguf(config(use_sliding_window=True, sliding_window=16, no_rope_layer_interval=2,
                                      num_hidden_layers=2)),
    }},
    "gemma2": {"variants": {
        "plain": config(head_dim=24, query_pre_attn_scalar=24, sliding_window=16, attn_logit_softcapping=4.0,
                        final_logit_softcapping=5.0, tie_word_embeddings=True),
        "scaled": without_gguf(config(head_dim=24, query_pre_attn_scalar=32, sliding_window=16,
                                      tie_word_embeddings=True)),
        "other": config(head_dim=20, query_pre_attn_scalar=20, sliding_window=33, attn_logit_softcapping=50.0,
                        final_logit_softcapping=30.0, tie_word_embeddings=True, num_hidden_layers=3),
    }},
    "stablelm": {"variants": {
        "plain": config(partial_rotary_factor=0.5, use_qkv_bias=False),
        "biases": config(partial_rotary_factor=0.25, use_qkv_bias=True, num_attention_heads=5,
                         num_key_value_heads=5),
        "parallel": config(use_parallel_residual=True, partial_rotary_factor=1.0),
    }},
    "starcoder2": {"variants": {
        "plain": config(use_bias=True, tie_word_embeddings=True),
        "window": without_gguf(config(sliding_window=16, use_bias=True)),
    }},
    "gpt2": {"variants": {
        "plain": {"config": dict(vocab_size=300, n_embd=80, n_layer=3, n_head=4, n_positions=128, n_ctx=128,
                                 n_inner=None, bos_token_id=None, eos_token_id=257)},
        "inner": {"config": dict(vocab_size=300, n_embd=64, n_layer=2, n_head=2, n_positions=256, n_ctx=256,
                                 n_inner=100, bos_token_id=None, eos_token_id=257, tie_word_embeddings=True)},
    }},
    "cohere2": {"variants": {
        "plain": config(logit_scale=0.3, sliding_window=16, sliding_window_pattern=4, head_dim=20,
                        tie_word_embeddings=True, num_hidden_layers=5, rotary_pct=1.0),
    }},
    "cohere": {"variants": {
        "plain": config(logit_scale=0.0625, tie_word_embeddings=True),
        "normed": config(logit_scale=0.1, use_qk_norm=True, num_hidden_layers=3, tie_word_embeddings=True),
    }},
    "olmo2": {"variants": {
        "plain": config(),
        "biases": config(attention_bias=True, num_hidden_layers=2, num_key_value_heads=1),
    }},
    "olmo3": {"variants": {
        "plain": config(sliding_window=16),
        "types": config(sliding_window=24, layer_types=["full_attention", "sliding_attention",
                                                        "sliding_attention", "full_attention"]),
        "yarn": config(sliding_window=16, rope_parameters={
            "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
            "full_attention": {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0,
                               "original_max_position_embeddings": 32, "attention_factor": 1.2,
                               "beta_fast": 32.0, "beta_slow": 1.0}}),
    }},
    "exaone4": {"variants": {
        "plain": config(sliding_window=16, sliding_window_pattern=4, num_hidden_layers=5),
        "whole": config(sliding_window=None, head_dim=20, tie_word_embeddings=True,
                        layer_types=["full_attention"] * 4),
    }},
    "glm4": {"variants": {
        "plain": config(head_dim=20, attention_bias=True, partial_rotary_factor=0.6),
        "unbiased": config(head_dim=24, attention_bias=False, partial_rotary_factor=0.5),
    }},
    "seed_oss": {"variants": {
        "plain": config(head_dim=20, attention_bias=True),
        "tied": config(head_dim=24, attention_bias=True, tie_word_embeddings=True),
    }},
    "ernie4_5": {"variants": {
        "plain": config(head_dim=20, tie_word_embeddings=True),
        "biases": config(head_dim=20, use_bias=True),
    }},
    "phi3": {"variants": {
        "plain": config(),
        "partial": config(partial_rotary_factor=0.75, tie_word_embeddings=True, hidden_size=96),
        "longrope": computed(config(original_max_position_embeddings=64, max_position_embeddings=512, rope_parameters={
            "rope_type": "longrope", "rope_theta": 10000.0, "partial_rotary_factor": 1.0,
            "original_max_position_embeddings": 64,
            "short_factor": [1.0 + 0.1 * i for i in range(10)], "long_factor": [1.5 + 0.5 * i for i in range(10)]})),
        "short": computed(config(original_max_position_embeddings=256, max_position_embeddings=512, rope_parameters={
            "rope_type": "longrope", "rope_theta": 10000.0, "partial_rotary_factor": 1.0,
            "original_max_position_embeddings": 256,
            "short_factor": [1.0 + 0.1 * i for i in range(10)], "long_factor": [1.5 + 0.5 * i for i in range(10)]})),
    }},
    "ministral3": {"variants": {
        "plain": config(head_dim=20, rope_parameters={
            "rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 32,
            "beta_fast": 32.0, "beta_slow": 1.0, "mscale": 1.0, "mscale_all_dim": 1.0, "llama_4_scaling_beta": 0.3,
            "max_position_embeddings": 512}),
    }},
    "qwen2_moe": {"variants": {
        "plain": config(num_experts=6, num_experts_per_tok=2, moe_intermediate_size=40,
                        shared_expert_intermediate_size=48),
        "dense": without_gguf(config(num_experts=4, num_experts_per_tok=3, moe_intermediate_size=36,
                                     shared_expert_intermediate_size=20, norm_topk_prob=True, mlp_only_layers=[0, 2])),
        "sparse": without_gguf(config(num_experts=4, num_experts_per_tok=1, moe_intermediate_size=36,
                                      shared_expert_intermediate_size=20, decoder_sparse_step=2, qkv_bias=False)),
        "window": without_gguf(config(num_experts=4, num_experts_per_tok=2, moe_intermediate_size=36,
                                      shared_expert_intermediate_size=20, use_sliding_window=True,
                                      sliding_window=12, max_window_layers=1, num_hidden_layers=2)),
    }},
    "granitemoe": {"variants": {
        "plain": config(num_local_experts=5, num_experts_per_tok=2, embedding_multiplier=3.0,
                        residual_multiplier=0.3, logits_scaling=2.5, attention_multiplier=0.11),
    }},
    "granitemoeshared": {"variants": {
        "plain": config(num_local_experts=4, num_experts_per_tok=3, shared_intermediate_size=44,
                        embedding_multiplier=2.0, residual_multiplier=0.4, attention_multiplier=0.2,
                        tie_word_embeddings=True),
    }},
    "glm4_moe": {"variants": {
        "plain": config(n_routed_experts=6, num_experts_per_tok=2, moe_intermediate_size=40, n_shared_experts=1,
                        first_k_dense_replace=1, head_dim=20, n_group=1, topk_group=1, partial_rotary_factor=0.6,
                        routed_scaling_factor=1.7, attention_bias=True, num_nextn_predict_layers=0),
        "groups": without_gguf(config(n_routed_experts=6, num_experts_per_tok=2, moe_intermediate_size=36,
                                      n_shared_experts=2, first_k_dense_replace=2, head_dim=24, n_group=3,
                                      topk_group=2, use_qk_norm=True, norm_topk_prob=False)),
        "normed": config(n_routed_experts=5, num_experts_per_tok=3, moe_intermediate_size=40, n_shared_experts=1,
                         first_k_dense_replace=0, head_dim=24, n_group=1, topk_group=1, use_qk_norm=True,
                         num_nextn_predict_layers=1),
    }},
    "ernie4_5_moe": {"variants": {
        "plain": config(moe_num_experts=6, moe_k=2, moe_intermediate_size=40, moe_num_shared_experts=2,
                        moe_layer_start_index=1, moe_layer_end_index=3, moe_layer_interval=1),
        "interval": config(moe_num_experts=4, moe_k=3, moe_intermediate_size=36, moe_num_shared_experts=1,
                           moe_layer_start_index=1, moe_layer_interval=2, tie_word_embeddings=True),
        "biases": config(moe_num_experts=4, moe_k=2, moe_intermediate_size=40, moe_num_shared_experts=1,
                         moe_layer_start_index=1, use_bias=True, head_dim=20, num_hidden_layers=3),
    }},
    "mixtral": {"variants": {
        "plain": config(num_local_experts=4, num_experts_per_tok=2, head_dim=20),
        "window": without_gguf(config(num_local_experts=5, num_experts_per_tok=3, sliding_window=16)),
    }},
    "gpt_oss": {"variants": {
        "plain": config(num_local_experts=4, num_experts_per_tok=2, head_dim=20, sliding_window=16,
                        rope_parameters={"rope_type": "yarn", "rope_theta": 10000.0, "factor": 8.0,
                                         "original_max_position_embeddings": 32, "beta_fast": 32.0,
                                         "beta_slow": 1.0, "truncate": False}),
    }},
    "lfm2": {"variants": {
        "plain": config(num_hidden_layers=5, block_auto_adjust_ff_dim=False, conv_L_cache=3,
                        layer_types=["conv", "conv", "full_attention", "conv", "full_attention"]),
        "adjusted": config(num_hidden_layers=3, block_multiple_of=32, conv_L_cache=5, num_key_value_heads=1,
                           norm_eps=1e-3, layer_types=["full_attention", "conv", "conv"], tie_word_embeddings=True,
                           rope_parameters={"rope_theta": 5000.0, "rope_type": "default"}),
        # The converter takes no bias of a convolution.
        "biases": without_gguf(config(conv_bias=True, full_attn_idxs=[1, 3])),
    }},
    "lfm2_moe": {"variants": {
        "plain": config(tie_word_embeddings=True, moe_intermediate_size=48, num_dense_layers=1, num_experts=6,
                        num_experts_per_tok=2, layer_types=["conv", "full_attention", "conv", "conv"]),
        "scaled": without_gguf(config(moe_intermediate_size=40, num_dense_layers=2, num_experts=5,
                                      num_experts_per_tok=3, use_expert_bias=False, norm_topk_prob=False,
                                      routed_scaling_factor=1.5, conv_L_cache=4,
                                      layer_types=["full_attention", "conv", "conv", "full_attention"])),
    }},
    # The converter leaves out embeddings of what is no token.
    "gemma4_text": {"variants": {
        "plain": calm(config(vocab_size=258, hidden_size=64, intermediate_size=96, num_hidden_layers=7, head_dim=8,
                             global_head_dim=16, vocab_size_per_layer_input=258, hidden_size_per_layer_input=24,
                             num_kv_shared_layers=3, use_double_wide_mlp=True, sliding_window=20,
                             layer_types=["sliding_attention", "full_attention"] * 3 + ["full_attention"],
                             final_logit_softcapping=30.0, tie_word_embeddings=True)),
        "experts": calm(computed(config(vocab_size=258, hidden_size=64, intermediate_size=96, num_hidden_layers=6,
                                        head_dim=8, global_head_dim=16, num_global_key_value_heads=1,
                                        hidden_size_per_layer_input=0, attention_k_eq_v=True, enable_moe_block=True,
                                        num_experts=6, top_k_experts=2, moe_intermediate_size=40, sliding_window=20,
                                        tie_word_embeddings=True))),
        "dense": calm(config(vocab_size=258, hidden_size=72, intermediate_size=100, num_hidden_layers=6, head_dim=12,
                             global_head_dim=20, hidden_size_per_layer_input=0, sliding_window=30,
                             num_key_value_heads=1, rms_norm_eps=1e-4, tie_word_embeddings=True,
                             rope_parameters={"full_attention": {"rope_type": "proportional", "rope_theta": 5000.0,
                                                                 "partial_rotary_factor": 0.5},
                                              "sliding_attention": {"rope_type": "default", "rope_theta": 700.0}})),
        # Of ten layers and more transformers writes their numbers in two digits.
        "many": calm(config(vocab_size=258, hidden_size=64, intermediate_size=80, num_hidden_layers=12, head_dim=8,
                            global_head_dim=16, hidden_size_per_layer_input=0, sliding_window=20,
                            tie_word_embeddings=True)),
        "alike": without_gguf(calm(config(vocab_size=258, hidden_size=64, intermediate_size=80, num_hidden_layers=2,
                                          head_dim=16, global_head_dim=16, hidden_size_per_layer_input=0,
                                          sliding_window=20, tie_word_embeddings=True))),
    }},
    "qwen3_5_text": {"variants": {
        "plain": without_mtp(config(head_dim=32, linear_key_head_dim=16, linear_value_head_dim=24,
                                    linear_num_key_heads=2, linear_num_value_heads=6)),
        "even": without_mtp(config(head_dim=24, num_hidden_layers=3, linear_key_head_dim=24, linear_value_head_dim=16,
                                   linear_num_key_heads=3, linear_num_value_heads=3, linear_conv_kernel_dim=3,
                                   layer_types=["full_attention", "linear_attention", "linear_attention"],
                                   tie_word_embeddings=True, rms_norm_eps=1e-4, attention_bias=True,
                                   rope_parameters={"rope_theta": 5000.0, "rope_type": "default",
                                                    "partial_rotary_factor": 0.5})),
    }},
    "qwen3_5_moe_text": {"variants": {
        "plain": without_mtp(config(head_dim=32, linear_key_head_dim=16, linear_value_head_dim=16,
                                    linear_num_key_heads=2, linear_num_value_heads=4, num_experts=6,
                                    num_experts_per_tok=2, moe_intermediate_size=40,
                                    shared_expert_intermediate_size=36)),
    }},
    "qwen3_next": {"variants": {
        "plain": without_mtp(config(head_dim=32, linear_key_head_dim=16, linear_value_head_dim=24,
                                    linear_num_key_heads=2, linear_num_value_heads=4, num_experts=6,
                                    num_experts_per_tok=2, moe_intermediate_size=40,
                                    shared_expert_intermediate_size=36)),
        "sums": without_gguf(config(head_dim=24, linear_key_head_dim=16, linear_value_head_dim=16,
                                    linear_num_key_heads=4, linear_num_value_heads=4, num_experts=4,
                                    num_experts_per_tok=3, moe_intermediate_size=36, norm_topk_prob=False,
                                    shared_expert_intermediate_size=44, num_hidden_layers=3,
                                    layer_types=["linear_attention", "full_attention", "linear_attention"])),
    }},
    "mamba2": {"variants": {
        "plain": computed({"config": dict(vocab_size=304, hidden_size=64, num_hidden_layers=3, num_heads=8,
                                          head_dim=16, state_size=24, n_groups=2, expand=2, chunk_size=16,
                                          eos_token_id=257)}),
        "biases": without_gguf({"config": dict(vocab_size=300, hidden_size=80, num_hidden_layers=2, num_heads=10,
                                               head_dim=24, state_size=16, n_groups=1, expand=3, conv_kernel=3,
                                               use_bias=True, use_conv_bias=False, chunk_size=32,
                                               time_step_limit=[0.1, 0.9], tie_word_embeddings=True,
                                               eos_token_id=257)}),
    }},
    "granitemoehybrid": {"variants": {
        # The converter takes the names of layers from before transformers 5.
        "experts": without_gguf(config(num_local_experts=6, num_experts_per_tok=2, shared_intermediate_size=56,
                                       layer_types=["mamba", "attention", "mamba", "mamba"], mamba_n_heads=8,
                                       mamba_n_groups=2, mamba_d_state=16, mamba_d_head=20, mamba_chunk_size=16,
                                       embedding_multiplier=3.0, logits_scaling=2.0, residual_multiplier=0.4,
                                       attention_multiplier=0.2)),
        "dense": without_gguf(config(num_local_experts=0, num_experts_per_tok=0, shared_intermediate_size=56,
                                     layer_types=["mamba", "mamba", "attention", "mamba"], mamba_n_heads=4,
                                     mamba_n_groups=1, mamba_d_state=24, mamba_d_head=40, mamba_chunk_size=32,
                                     position_embedding_type="rope", attention_multiplier=0.3,
                                     residual_multiplier=0.5, tie_word_embeddings=True)),
    }},
    "falcon_h1": {"variants": {
        "plain": computed(config(num_hidden_layers=3, head_dim=24, mamba_d_ssm=96, mamba_n_heads=6, mamba_d_head=16,
                                 mamba_n_groups=2, mamba_d_state=16, mamba_chunk_size=16, lm_head_multiplier=0.5,
                                 embedding_multiplier=2.0, mlp_multipliers=[0.7, 0.6], key_multiplier=0.8,
                                 attention_out_multiplier=0.9, attention_in_multiplier=1.1,
                                 ssm_multipliers=[0.9, 0.8, 0.7, 0.6, 0.5], ssm_in_multiplier=1.2,
                                 ssm_out_multiplier=0.7)),
        "normed": computed(config(num_hidden_layers=3, head_dim=20, mamba_d_ssm=96, mamba_n_heads=6,
                                  mamba_d_head=16, mamba_n_groups=3, mamba_d_state=16, mamba_chunk_size=16,
                                  mamba_rms_norm=True, mamba_norm_before_gate=False)),
        "before": without_gguf(config(num_hidden_layers=2, head_dim=24, mamba_d_ssm=64, mamba_n_heads=4,
                                      mamba_d_head=16, mamba_n_groups=1, mamba_d_state=24, mamba_chunk_size=16,
                                      mamba_rms_norm=True, mamba_norm_before_gate=True, mamba_conv_bias=False)),
    }},
    "nemotron_h": {"variants": {
        "dense": computed(config(layers_block_type=["mamba", "mlp", "mamba", "attention", "mlp"], head_dim=24,
                                 num_hidden_layers=5, ssm_state_size=16, mamba_num_heads=8, mamba_head_dim=16,
                                 n_groups=2, chunk_size=16)),
        "experts": computed(config(layers_block_type=["mamba", "moe", "attention", "moe"], head_dim=24,
                                   ssm_state_size=24, mamba_num_heads=3, mamba_head_dim=64, n_groups=3,
                                   chunk_size=16, n_routed_experts=8, num_experts_per_tok=2, n_group=1,
                                   topk_group=1, moe_intermediate_size=40, n_shared_experts=1,
                                   moe_shared_expert_intermediate_size=56, routed_scaling_factor=1.5)),
        "latent": without_gguf(config(layers_block_type=["moe", "mamba", "moe"], num_hidden_layers=3, head_dim=20,
                                      ssm_state_size=16, mamba_num_heads=4, mamba_head_dim=16, n_groups=1,
                                      chunk_size=16, n_routed_experts=8, num_experts_per_tok=3, n_group=4,
                                      topk_group=2, moe_intermediate_size=36, moe_latent_size=48,
                                      moe_shared_expert_intermediate_size=44, norm_topk_prob=False)),
    }},
    # Multi-head latent attention: with and without a latent vector of queries, each router, YaRN that scales scores.
    "deepseek_v2": {"variants": {
        "lite": config(q_lora_rank=None, kv_lora_rank=48, qk_nope_head_dim=24, qk_rope_head_dim=8, v_head_dim=20,
                       n_routed_experts=6, num_experts_per_tok=2, n_shared_experts=2, moe_intermediate_size=36,
                       first_k_dense_replace=1, topk_method="greedy", n_group=1, topk_group=1,
                       routed_scaling_factor=1.3, num_key_value_heads=4),
        "groups": config(q_lora_rank=40, kv_lora_rank=32, qk_nope_head_dim=20, qk_rope_head_dim=16, v_head_dim=28,
                         n_routed_experts=6, num_experts_per_tok=3, n_shared_experts=1, moe_intermediate_size=40,
                         first_k_dense_replace=2, topk_method="group_limited_greedy", n_group=3, topk_group=2,
                         routed_scaling_factor=2.0, num_key_value_heads=4, tie_word_embeddings=True),
        "yarn": config(q_lora_rank=None, kv_lora_rank=48, qk_nope_head_dim=24, qk_rope_head_dim=16, v_head_dim=20,
                       n_routed_experts=4, num_experts_per_tok=2, n_shared_experts=1, moe_intermediate_size=36,
                       topk_method="greedy", num_key_value_heads=4, rope_parameters={
                           "rope_type": "yarn", "rope_theta": 10000.0, "factor": 8.0, "beta_fast": 32.0,
                           "beta_slow": 1.0, "original_max_position_embeddings": 32, "mscale": 0.707,
                           "mscale_all_dim": 0.707}),
    }},
    "deepseek_v3": {"variants": {
        "plain": config(q_lora_rank=40, kv_lora_rank=48, qk_nope_head_dim=24, qk_rope_head_dim=16, v_head_dim=20,
                        n_routed_experts=8, num_experts_per_tok=3, n_shared_experts=1, moe_intermediate_size=36,
                        first_k_dense_replace=1, n_group=4, topk_group=2, routed_scaling_factor=2.5,
                        norm_topk_prob=True, num_key_value_heads=4, num_nextn_predict_layers=0,
                        **NOAUX),
        # As transformers saves it: a converter then says nothing of the router.
        "silent": config(q_lora_rank=40, kv_lora_rank=32, qk_nope_head_dim=24, qk_rope_head_dim=16, v_head_dim=20,
                         n_routed_experts=4, num_experts_per_tok=2, n_shared_experts=1, moe_intermediate_size=36,
                         first_k_dense_replace=1, n_group=1, topk_group=1, num_hidden_layers=2,
                         num_key_value_heads=4),
        "sums": config(q_lora_rank=None, kv_lora_rank=32, qk_nope_head_dim=16, qk_rope_head_dim=24, v_head_dim=32,
                       n_routed_experts=6, num_experts_per_tok=2, n_shared_experts=2, moe_intermediate_size=40,
                       first_k_dense_replace=0, n_group=1, topk_group=1, routed_scaling_factor=1.2,
                       norm_topk_prob=False, num_key_value_heads=4, tie_word_embeddings=True, **NOAUX),
        "halves": without_gguf(config(q_lora_rank=24, kv_lora_rank=40, qk_nope_head_dim=12, qk_rope_head_dim=8,
                                      v_head_dim=12, n_routed_experts=4, num_experts_per_tok=2, n_shared_experts=1,
                                      moe_intermediate_size=36, first_k_dense_replace=3, n_group=2, topk_group=1,
                                      rope_interleave=False, attention_bias=True, num_key_value_heads=4)),
        "yarn": config(q_lora_rank=40, kv_lora_rank=48, qk_nope_head_dim=24, qk_rope_head_dim=16, v_head_dim=20,
                       n_routed_experts=4, num_experts_per_tok=2, n_shared_experts=1, moe_intermediate_size=36,
                       first_k_dense_replace=1, n_group=1, topk_group=1, num_key_value_heads=4, **NOAUX, rope_parameters={
                           "rope_type": "yarn", "rope_theta": 10000.0, "factor": 8.0, "beta_fast": 32.0,
                           "beta_slow": 1.0, "original_max_position_embeddings": 32, "mscale": 1.0,
                           "mscale_all_dim": 1.0}),
    }},
    "glm4_moe_lite": {"variants": {
        "plain": latent(config(
            q_lora_rank=40, kv_lora_rank=48, qk_nope_head_dim=24, qk_rope_head_dim=8, v_head_dim=32,
            n_routed_experts=5, num_experts_per_tok=2, n_shared_experts=1, moe_intermediate_size=36,
            n_group=1, topk_group=1, routed_scaling_factor=1.8, num_key_value_heads=4, **NOAUX)),
        "silent": config(q_lora_rank=40, kv_lora_rank=48, qk_nope_head_dim=24, qk_rope_head_dim=8, v_head_dim=32,
                         n_routed_experts=4, num_experts_per_tok=2, n_shared_experts=1, moe_intermediate_size=36,
                         mlp_layer_types=["dense", "dense", "sparse"], num_hidden_layers=3, num_key_value_heads=4,
                         rms_norm_eps=1e-6),
    }},
    # Windows in some layers, biases, layers without experts: what few published models have.
    "qwen2": {"variants": {
        "window": without_gguf(config(use_sliding_window=True, sliding_window=12, max_window_layers=1,
                                      num_hidden_layers=2)),
        "yarn": config(num_hidden_layers=2, rope_parameters={
            "rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 32}),
    }},
    "qwen3": {"variants": {
        "biases": config(head_dim=24, attention_bias=True, num_hidden_layers=2, rope_parameters={
            "rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 32}),
    }},
    "qwen3_moe": {"variants": {
        "dense": without_gguf(config(head_dim=24, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=40,
                                     mlp_only_layers=[1], attention_bias=True, num_hidden_layers=3,
                                     use_sliding_window=True, sliding_window=16)),
    }},
    "olmoe": {"variants": {
        "clipped": without_gguf(config(num_experts=4, num_experts_per_tok=2, clip_qkv=0.8, attention_bias=True,
                                       num_hidden_layers=2)),
    }},
    "gemma3_text": {"variants": {
        "yarn": without_gguf(config(head_dim=24, sliding_window=16, query_pre_attn_scalar=24, num_hidden_layers=3,
                                    layer_types=["sliding_attention", "full_attention", "sliding_attention"],
                                    attention_bias=True, tie_word_embeddings=True, rope_parameters={
                                        "full_attention": {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0,
                                                           "original_max_position_embeddings": 32},
                                        "sliding_attention": {"rope_type": "default", "rope_theta": 700.0}})),
    }},
    "gemma": {"variants": {
        "plain": config(head_dim=24, tie_word_embeddings=True, num_hidden_layers=3),
    }},
    "phi": {"variants": {
        "plain": config(num_key_value_heads=4, num_hidden_layers=3),
        "normed": without_gguf(config(qk_layernorm=True, partial_rotary_factor=0.4, num_hidden_layers=2)),
    }},
    "arcee": {"variants": {
        "plain": config(head_dim=20, attention_bias=True, mlp_bias=True, num_hidden_layers=3),
    }},
    "nemotron": {"variants": {
        "plain": config(attention_bias=True, mlp_bias=True, num_hidden_layers=2, norm_eps=0.001),
    }},
    "jais2": {"variants": {
        "plain": config(num_hidden_layers=2),
    }},
    # A converter writes an epsilon and a base of its own.
    "glm": {"variants": {
        "plain": config(head_dim=20, rms_norm_eps=1e-5, num_hidden_layers=3),
    }},
    "olmo": {"variants": {
        "plain": config(clip_qkv=0.9, num_hidden_layers=3),
    }},
    "hunyuan_v1_dense": {"variants": {
        "plain": config(head_dim=24, num_hidden_layers=2),
        "alpha": computed(config(head_dim=24, attention_bias=True, tie_word_embeddings=True, num_hidden_layers=2,
                                 max_position_embeddings=32768, rope_parameters={
                                     "rope_type": "dynamic", "rope_theta": 10000.0, "alpha": 1000.0, "factor": 1.0})),
    }},
    "hunyuan_v1_moe": {"variants": {
        "plain": config(head_dim=20, num_experts=5, moe_topk=[2] * 2, num_shared_expert=[1] * 2,
                        moe_intermediate_size=[100] * 2, num_hidden_layers=2),
    }},
    "dots1": {"variants": {
        "plain": config(head_dim=24, n_routed_experts=6, n_shared_experts=2, num_experts_per_tok=2, n_group=3,
                        topk_group=2, moe_intermediate_size=40, first_k_dense_replace=1, norm_topk_prob=True,
                        routed_scaling_factor=2.0, sliding_window=None, num_hidden_layers=3, **NOAUX),
        "window": without_gguf(config(head_dim=24, n_routed_experts=4, n_shared_experts=1, num_experts_per_tok=2,
                                      moe_intermediate_size=36, sliding_window=16, max_window_layers=1,
                                      attention_bias=True, num_hidden_layers=2)),
    }},
    "exaone_moe": {"variants": {
        "plain": config(head_dim=24, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=40,
                        sliding_window=16, sliding_window_pattern=2, num_hidden_layers=3),
    }},
    "minimax_m2": {"variants": {
        "plain": config(head_dim=24, num_local_experts=6, num_experts_per_tok=2, rotary_dim=16, num_hidden_layers=3),
    }},
    "solar_open": {"variants": {
        "plain": config(head_dim=20, n_routed_experts=4, num_experts_per_tok=2, moe_intermediate_size=40,
                        n_shared_experts=1, n_group=1, topk_group=1, routed_scaling_factor=1.3,
                        partial_rotary_factor=1.0, num_hidden_layers=2),
    }},
    "youtu": {"variants": {
        "plain": config(q_lora_rank=40, kv_lora_rank=32, qk_nope_head_dim=24, qk_rope_head_dim=16, v_head_dim=20,
                        num_key_value_heads=4, num_hidden_layers=3),
    }},
    # What transformers saves says nothing of rotary_pct, which the converter asks for.
    "gpt_neox": {"variants": {
        "plain": without_gguf(own(intermediate_size=100, rope_parameters={
            "rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.4})),
        "serial": without_gguf(own(intermediate_size=100, use_parallel_residual=False, hidden_act="gelu_fast",
                                   attention_bias=False, rope_parameters={
                                       "rope_type": "default", "rope_theta": 5000.0, "partial_rotary_factor": 0.5})),
    }},
    "falcon": {"variants": {
        "plain": own(new_decoder_architecture=True, num_kv_heads=2),
        "one": without_gguf(own(ffn_hidden_size=120, tie_word_embeddings=True)),
        "serial": without_gguf(own(multi_query=False, parallel_attn=False, bias=True)),
    }},
    "apertus": {"variants": {
        "plain": computed(config(num_hidden_layers=2)),
    }},
    # Of chunks, and of what a layer without positions does to queries, a GGUF has what the published models have.
    "llama4_text": {"variants": {
        "plain": config(head_dim=20, num_local_experts=4, num_experts_per_tok=1, intermediate_size_mlp=90,
                        interleave_moe_layer_step=2),
        "chunks": without_gguf(config(head_dim=20, num_local_experts=3, num_experts_per_tok=1,
                                      intermediate_size_mlp=90, attention_chunk_size=37, floor_scale=16,
                                      attn_scale=0.3, no_rope_layer_interval=2, use_qk_norm=False,
                                      attention_bias=True, num_hidden_layers=3)),
    }},
    # Transformers saves it as Llama's class.
    "exaone": {"variants": {
        "plain": dict(computed(config(head_dim=20, num_hidden_layers=3, rms_norm_eps=1e-5, rope_parameters={
            "rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 32})),
            published=dict(architectures=["ExaoneForCausalLM"])),
    }},
    "minicpm3": {"variants": {
        "plain": latent(config(q_lora_rank=40, kv_lora_rank=32, qk_nope_head_dim=24, qk_rope_head_dim=16, v_head_dim=20,
                               num_key_value_heads=4, num_hidden_layers=3, scale_emb=12, scale_depth=1.4, dim_model_base=256,
                               tie_word_embeddings=True)),
        "scaled": without_gguf(config(q_lora_rank=40, kv_lora_rank=32, qk_nope_head_dim=24, qk_rope_head_dim=16, v_head_dim=28,
                                      num_key_value_heads=4, num_hidden_layers=2, scale_emb=3, scale_depth=0.7,
                                      dim_model_base=32)),
    }},
    "granite_swa": {"variants": {
        "plain": config(embedding_multiplier=3.0, residual_multiplier=0.3, logits_scaling=2.5, attention_multiplier=0.11,
                        sliding_window=16, num_hidden_layers=5, head_dim=20),
        "bases": without_gguf(config(attention_multiplier=0.2, sliding_window=16, head_dim=20, tie_word_embeddings=True,
                                     layer_types=["sliding_attention", "full_attention", "sliding_attention", "full_attention"],
                                     layer_rope_theta=[10000.0, 0.0, 500.0, 10000.0])),
    }},
    "granitemoe_swa": {"variants": {
        "plain": config(embedding_multiplier=3.0, residual_multiplier=0.3, logits_scaling=2.5, attention_multiplier=0.11,
                        sliding_window=16, num_hidden_layers=3, head_dim=20, num_local_experts=5, num_experts_per_tok=2,
                        shared_intermediate_size=48),
    }},
    "afmoe": {"variants": {
        "plain": config(head_dim=24, sliding_window=16, num_hidden_layers=5, num_dense_layers=1, num_experts=5,
                        num_experts_per_tok=2, num_shared_experts=2, moe_intermediate_size=40, route_scale=1.4,
                        mup_enabled=True, score_func="sigmoid", route_norm=True),
        "unscaled": without_gguf(config(head_dim=20, sliding_window=16, num_hidden_layers=3, num_dense_layers=2, num_experts=4,
                                        num_experts_per_tok=2, num_shared_experts=1, moe_intermediate_size=36,
                                        global_attn_every_n_layers=2, attention_bias=True)),
    }},
    "hy_v3": {"variants": {
        "plain": config(head_dim=24, num_experts=6, num_experts_per_tok=2, num_shared_experts=2, moe_intermediate_size=40,
                        num_hidden_layers=3, router_scaling_factor=1.7),
    }},
    "gptj": {"variants": {
        "plain": without_gguf({"config": dict(vocab_size=300, n_embd=80, n_layer=3, n_head=4, n_positions=128, rotary_dim=12,
                                              n_inner=100, bos_token_id=None, eos_token_id=257)}),
    }},
    "gemma3n_text": {"variants": {
        "plain": calm(config(head_dim=24, sliding_window=16, num_hidden_layers=5, num_kv_shared_layers=2, tie_word_embeddings=True,
                             layer_types=["sliding_attention", "full_attention"] * 2 + ["sliding_attention"],
                             activation_sparsity_pattern=[0.0] * 5, hidden_size_per_layer_input=16, laurel_rank=12,
                             vocab_size_per_layer_input=300, final_logit_softcapping=5.0)),
        "sparse": without_gguf(calm(config(head_dim=24, sliding_window=16, num_hidden_layers=3, num_kv_shared_layers=0,
                                           layer_types=["sliding_attention", "full_attention", "sliding_attention"],
                                           activation_sparsity_pattern=[0.95, 0.95, 0.0], hidden_size_per_layer_input=16,
                                           tie_word_embeddings=True, laurel_rank=12, vocab_size_per_layer_input=300,
                                           altup_correct_scale=False))),
    }},
    # A GGUF says nothing of queries' temperature, which the converter leaves out.
    "mistral4": {"variants": {
        "plain": latent(config(q_lora_rank=40, kv_lora_rank=32, qk_nope_head_dim=24, qk_rope_head_dim=16, v_head_dim=20,
                               num_key_value_heads=4, num_hidden_layers=3, first_k_dense_replace=1, n_routed_experts=5,
                               n_shared_experts=2, num_experts_per_tok=2, moe_intermediate_size=40, routed_scaling_factor=1.4,
                               rope_parameters={"rope_type": "yarn", "rope_theta": 10000.0, "factor": 8.0, "beta_fast": 32.0,
                                                "original_max_position_embeddings": 64, "beta_slow": 1.0, "mscale": 1.0,
                                                "mscale_all_dim": 1.0, "llama_4_scaling_beta": 0.0})),
        "warm": without_gguf(config(q_lora_rank=40, kv_lora_rank=32, qk_nope_head_dim=24, qk_rope_head_dim=16, v_head_dim=24,
                                    num_key_value_heads=4, num_hidden_layers=2, n_routed_experts=4, num_experts_per_tok=2,
                                    moe_intermediate_size=36, norm_topk_prob=False, rope_interleave=False,
                                    rope_parameters={"rope_type": "yarn", "rope_theta": 10000.0, "factor": 8.0, "beta_fast": 32.0,
                                                     "original_max_position_embeddings": 16, "beta_slow": 1.0, "mscale": 1.0,
                                                     "mscale_all_dim": 1.0, "llama_4_scaling_beta": 0.3})),
    }},
    "laguna": {"variants": {
        "heads": config(head_dim=24, num_experts=6, num_experts_per_tok=2, moe_intermediate_size=40,
                        shared_expert_intermediate_size=48, sliding_window=16, num_hidden_layers=5,
                        layer_types=["full_attention"] + ["sliding_attention"] * 3 + ["full_attention"],
                        num_attention_heads_per_layer=[4, 6, 6, 6, 4], moe_routed_scaling_factor=1.7, gating="per-head",
                        rope_parameters={
                            "full_attention": {"rope_type": "yarn", "rope_theta": 50000.0, "factor": 4.0, "beta_fast": 32.0,
                                               "original_max_position_embeddings": 32, "beta_slow": 1.0,
                                               "attention_factor": 1.0, "partial_rotary_factor": 0.5},
                            "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0,
                                                  "partial_rotary_factor": 1.0}}),
        "elements": without_gguf(config(head_dim=20, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=36,
                                        shared_expert_intermediate_size=36, num_hidden_layers=2, sliding_window=16,
                                        moe_router_logit_softcapping=1.5, gating="per-element")),
    }},
    "mellum": {"variants": {
        "plain": config(head_dim=24, num_experts=6, num_experts_per_tok=2, moe_intermediate_size=40, sliding_window=16,
                        num_hidden_layers=4, layer_types=["sliding_attention"] * 3 + ["full_attention"], rope_parameters={
                            "full_attention": {"rope_type": "yarn", "rope_theta": 50000.0, "factor": 4.0, "beta_fast": 32.0,
                                               "original_max_position_embeddings": 32, "beta_slow": 1.0},
                            "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0}}),
        "dense": without_gguf(config(head_dim=20, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=36,
                                     num_hidden_layers=2, mlp_layer_types=["dense", "sparse"], norm_topk_prob=False,
                                     attention_bias=True)),
    }},
}
