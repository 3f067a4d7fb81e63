# SPDX-License-Identifier: MIT
"""The true shapes that true_shapes.py looks at: of one published model or two of each family its widths, heads, experts
and vocabulary, and as few layers as have each kind of layer once.

Sizes are transformers' defaults of the class where these are the published model's, else those of its config.json as
public repositories quote it. Of each:

    of         the published model
    kind       transformers' type of the configuration, and
    config     what differs from its defaults
    layers     what kinds there are
    saved      what the published config.json says besides, and transformers' does not
    less       what was left out to have room
    weights    how the folder has matrices, if not as BF16
    zero       norms that do nothing are stored as 0 (what is added to 1), not as 1
    whole      with encoders of pictures and sound, which no text needs
    apart      why the text of the GGUF is another
    convert    options for the converter
    tokenizer  see shape_tokenizers.py, as of begins, ends, control and renamed;
    called     whose it is, if not the model's own
    context    if not 256: what the template writes before the first message is longer
    template   a file of llama.cpp's models/templates or, where there is none, of tests/fixtures/chat-templates;
    spoken     whose it is, if not the model's own
"""

CHATML = ["<|im_start|>", "<|im_end|>"]
MAMBA_ATTENTION = ["mamba", "attention"]
LINEAR_FULL = ["linear_attention", "full_attention"]
SLIDING_FULL = ["sliding_attention", "full_attention"]
# What published configurations of DeepSeek V3's kind say, and a converter asks.
NOAUX = dict(scoring_func="sigmoid", topk_method="noaux_tc")


def theta(base, **more):
    return dict(rope_type="default", rope_theta=float(base), **more)


PHI4_LONG = [1, 1.118320672, 1.250641126, 1.398617824, 1.564103225, 1.74916897, 1.956131817, 2.187582649, 2.446418898,
             2.735880826, 3.059592084, 3.421605075, 3.826451687, 4.279200023, 4.785517845, 5.351743533, 5.984965424,
             6.693110555, 7.485043894, 8.370679318, 9.36110372, 10.4687158, 11.70738129, 13.09260651, 14.64173252,
             16.37415215, 18.31155283, 20.47818807, 22.90118105, 25.61086418, 28.64115884, 32.03, 32.1, 32.13, 32.23,
             32.6, 32.61, 32.64, 32.66, 32.7, 32.71, 32.93, 32.97, 33.28, 33.49, 33.5, 44.16, 47.77]
PHI35_LONG = [1.08, 1.11, 1.14, 1.34, 1.59, 1.6, 1.62, 2.62, 3.23, 3.23, 4.79, 7.4, 7.7, 9.09, 12.2, 17.67, 24.46,
              28.57, 30.42, 30.84, 32.59, 32.93, 42.32, 44.96, 50.34, 50.45, 57.55, 57.93, 58.21, 60.14, 62.61, 62.62,
              62.71, 63.14, 63.14, 63.77, 63.93, 63.96, 63.97, 64.03, 64.07, 64.08, 64.12, 64.41, 64.48, 64.51, 64.53,
              64.84]
PHI35_SHORT = [1.0, 1.02, 1.03, 1.03, 1.05, 1.05, 1.05, 1.05, 1.05, 1.07, 1.1, 1.11, 1.16, 1.16, 1.17, 1.29, 1.34,
               1.68, 1.79, 1.82, 1.85, 1.88, 1.91, 1.94, 1.99, *[2.02] * 6, *[2.03] * 9, 2.08, 2.09, 2.19, 2.22, 2.59,
               2.73, 2.75, 2.84]


def longrope(short, long, part=1.0):
    return dict(rope_type="longrope", rope_theta=10000.0, partial_rotary_factor=part,
                original_max_position_embeddings=4096, short_factor=short, long_factor=long)


def yarn(factor, original, **more):
    return dict(rope_type="yarn", rope_theta=10000.0, factor=float(factor), beta_fast=32.0, beta_slow=1.0,
                original_max_position_embeddings=original) | more


# ---- keys and values of each position -------------------------------------------------------------

ATTENTION = {
    "gemma2": dict(
        of="Gemma-2-2B", kind="gemma2", layers="near, far", template="google-gemma-2-2b-it", zero=True,
        tokenizer="npm:tokenizer-gemini", begins="<bos>", ends="<eos>", config=dict(num_hidden_layers=2)),
    "gemma4": dict(
        of="Gemma-4-E2B", kind="gemma4", layers="near, far, both again with keys and values of the ones before",
        tokenizer="gguf:gemma-4", begins="<bos>", ends="<eos>", template="google-gemma-4-31B-it", whole=True,
        config=dict(
            text_config=dict(
                hidden_size=1536, intermediate_size=6144, num_attention_heads=8, num_key_value_heads=1, head_dim=256,
                global_head_dim=512, num_kv_shared_layers=2, use_double_wide_mlp=True, final_logit_softcapping=30.0,
                num_hidden_layers=4, layer_types=SLIDING_FULL * 2),
            vision_config=dict(num_hidden_layers=1), audio_config=dict(num_hidden_layers=1))),
    "gemma4:experts": dict(
        of="Gemma-4-26B-A4B", kind="gemma4_text", layers="near, far, both with experts", tokenizer="gguf:gemma-4",
        begins="<bos>", ends="<eos>", template="google-gemma-4-31B-it",
        config=dict(
            hidden_size=2816, intermediate_size=2112, num_attention_heads=16, num_key_value_heads=8, head_dim=256,
            global_head_dim=512, num_global_key_value_heads=2, attention_k_eq_v=True, sliding_window=1024,
            hidden_size_per_layer_input=0, enable_moe_block=True, num_experts=128, top_k_experts=8,
            moe_intermediate_size=704, final_logit_softcapping=30.0, max_position_embeddings=262144,
            num_hidden_layers=2, layer_types=SLIDING_FULL)),
    "gpt-oss": dict(
        of="gpt-oss-20b", kind="gpt_oss", layers="near, far", weights="MXFP4", tokenizer="npm:tokenizer-gptoss",
        ends="<|return|>", template="openai-gpt-oss-120b",
        config=dict(num_local_experts=32, num_hidden_layers=2)),
    "smollm3": dict(
        of="SmolLM3-3B", kind="smollm3", layers="three that rotate, one that does not",
        tokenizer="gguf:llama-bpe", called="Llama 3's",
        renamed={128002: "<think>", 128003: "</think>", 128011: CHATML[0], 128012: CHATML[1]},
        ends="<|im_end|>", template="HuggingFaceTB-SmolLM3-3B",
        config=dict(max_position_embeddings=65536, rope_parameters=theta(5e6), num_hidden_layers=4)),
    "granite": dict(
        of="Granite-3.3-2B", kind="granite", layers="two alike", ends="<|end_of_text|>",
        template="ibm-granite-granite-3.3-2B-Instruct",
        config=dict(vocab_size=49159, hidden_size=2048, intermediate_size=8192, num_attention_heads=32,
                    num_key_value_heads=8, rms_norm_eps=1e-5, rope_parameters=theta(1e7), tie_word_embeddings=True,
                    embedding_multiplier=12.0, attention_multiplier=0.015625, residual_multiplier=0.22,
                    logits_scaling=8.0, max_position_embeddings=131072, num_hidden_layers=2)),
    "granitemoe": dict(
        of="Granite-3.1-3B-A800M", kind="granitemoe", layers="two alike", ends="<|end_of_text|>",
        template="ibm-granite-granite-3.3-2B-Instruct", spoken="Granite 3.3's",
        config=dict(vocab_size=49155, hidden_size=1536, intermediate_size=512, num_attention_heads=24,
                    num_key_value_heads=8, num_local_experts=40, num_experts_per_tok=8, rms_norm_eps=1e-6,
                    rope_parameters=theta(1e7), tie_word_embeddings=True, embedding_multiplier=12.0,
                    attention_multiplier=0.015625, residual_multiplier=0.22, logits_scaling=6.0,
                    max_position_embeddings=131072, num_hidden_layers=2)),
    "mistral3": dict(
        of="Ministral-3-3B", kind="mistral3", layers="two alike", whole=True,
        tokenizer="tekken", called="Mistral's", begins="<s>", ends="</s>",
        template="mistralai-Ministral-3-14B-Reasoning-2512", spoken="the 14B's",
        config=dict(
            tie_word_embeddings=True,
            text_config=dict(
                model_type="ministral3", vocab_size=131072, hidden_size=3072, intermediate_size=9216,
                num_attention_heads=32, num_key_value_heads=8, head_dim=128, max_position_embeddings=262144,
                tie_word_embeddings=True, num_hidden_layers=2,
                rope_parameters=yarn(16, 16384, rope_theta=1e6, mscale=1.0, mscale_all_dim=1.0,
                                     llama_4_scaling_beta=0.1, max_position_embeddings=262144)),
            vision_config=dict(num_hidden_layers=1))),
    "phi3": dict(
        of="Phi-4-mini", kind="phi3", layers="two alike", tokenizer="npm:tokenizer-gpt4o", called="GPT-4o's",
        renamed={200019: "<|assistant|>", 200020: "<|end|>", 200021: "<|user|>", 200022: "<|system|>"},
        ends="<|endoftext|>", template="microsoft-Phi-3.5-mini-instruct", spoken="Phi-3.5's",
        config=dict(vocab_size=200064, num_attention_heads=24, num_key_value_heads=8, tie_word_embeddings=True,
                    max_position_embeddings=131072, sliding_window=262144, partial_rotary_factor=0.75,
                    rope_parameters=longrope([1.0] * 48, PHI4_LONG, 0.75), num_hidden_layers=2)),
    "phi3:3.5": dict(
        of="Phi-3.5-mini", kind="phi3", layers="two alike", tokenizer="gguf:phi-3", begins="<s>", ends="<|endoftext|>",
        template="microsoft-Phi-3.5-mini-instruct",
        config=dict(max_position_embeddings=131072, sliding_window=262144,
                    rope_parameters=longrope(PHI35_SHORT, PHI35_LONG), num_hidden_layers=2)),
    "olmo2": dict(
        of="OLMo-2-1B", kind="olmo2", layers="two alike", ends="<|endoftext|>", template="olmo2", spoken="as OLMo 2's",
        config=dict(vocab_size=100352, hidden_size=2048, intermediate_size=8192, num_attention_heads=16,
                    rms_norm_eps=1e-6, rope_parameters=theta(5e5), max_position_embeddings=4096, num_hidden_layers=2)),
    "olmo3": dict(
        of="OLMo-3-7B", kind="olmo3", layers="near, far", ends="<|endoftext|>", control=CHATML, template="chatml",
        spoken="ChatML",
        config=dict(vocab_size=100278, rms_norm_eps=1e-6, max_position_embeddings=65536, rope_parameters=dict(
            sliding_attention=theta(5e5),
            full_attention=yarn(8, 8192, rope_theta=5e5, attention_factor=1.2079441541679836)),
            num_hidden_layers=2, layer_types=SLIDING_FULL)),
    "exaone4": dict(
        of="EXAONE-4.0-1.2B", kind="exaone4", layers="two alike", ends="[|endofturn|]", template=None,
        config=dict(hidden_size=2048, intermediate_size=4096, num_key_value_heads=8, head_dim=64,
                    max_position_embeddings=65536, tie_word_embeddings=True, sliding_window=None,
                    rope_parameters=theta(1e6) | dict(
                        rope_type="llama3", factor=16.0, low_freq_factor=1.0, high_freq_factor=4.0,
                        original_max_position_embeddings=8192),
                    num_hidden_layers=2, layer_types=["full_attention"] * 2)),
    "cohere2": dict(
        of="Command-R7B", kind="cohere2", layers="three near, one far", tokenizer="gguf:command-r",
        called="Command R's", begins="<BOS_TOKEN>", ends="<|END_OF_TURN_TOKEN|>",
        template="CohereForAI-c4ai-command-r7b-12-2024-tool_use", context="1024",
        config=dict(hidden_size=4096, intermediate_size=14336, num_attention_heads=32, num_key_value_heads=8,
                    logit_scale=0.25, rope_parameters=theta(5e4), max_position_embeddings=132096,
                    num_hidden_layers=4),
        saved=dict(rotary_pct=1.0)),
    "glm4": dict(
        of="GLM-4-9B-0414", kind="glm4", layers="two alike", ends="<|endoftext|>", control=["[gMASK]", "<sop>"],
        template="GLM-4.6", spoken="GLM 4.6's",
        config=dict(rms_norm_eps=1e-5, max_position_embeddings=32768,
                    rope_parameters=theta(1e4, partial_rotary_factor=0.5), num_hidden_layers=2)),
    "glm4moe": dict(
        of="GLM-4.5-Air", kind="glm4_moe", layers="feed-forward, experts", ends="<|endoftext|>",
        control=["[gMASK]", "<sop>"], template="GLM-4.6", spoken="GLM 4.6's",
        config=dict(attention_bias=True, num_nextn_predict_layers=0, head_dim=128, num_hidden_layers=2,
                    rope_parameters=theta(1e6, partial_rotary_factor=0.5))),
    "mixtral": dict(
        of="Mixtral-8x7B", kind="mixtral", layers="two alike", tokenizer="mistral:tokenizer.model.v1", begins="<s>",
        ends="</s>", template="mistral", spoken="as Mistral's",
        config=dict(max_position_embeddings=32768, rope_parameters=theta(1e6), num_hidden_layers=2)),
    "qwen2moe": dict(
        of="Qwen1.5-MoE-A2.7B", kind="qwen2_moe", layers="two alike", tokenizer="gguf:qwen2", called="Qwen2's",
        ends="<|im_end|>", template="Qwen-Qwen2.5-7B-Instruct", spoken="Qwen2.5's",
        config=dict(rope_parameters=theta(1e6), max_position_embeddings=8192, num_hidden_layers=2)),
    "seed_oss": dict(
        of="Seed-OSS-36B", kind="seed_oss", layers="two alike", begins="<seed:bos>", ends="<seed:eos>",
        template="ByteDance-Seed-OSS",
        config=dict(hidden_size=5120, rope_parameters=theta(1e7), num_hidden_layers=2)),
    "ernie4_5": dict(
        of="ERNIE-4.5-0.3B", kind="ernie4_5", layers="two alike", begins="<s>", ends="</s>", template=None,
        config=dict(rope_parameters=theta(5e5), num_hidden_layers=2)),
    "ernie4_5-moe": dict(
        of="ERNIE-4.5-21B-A3B", kind="ernie4_5_moe", layers="feed-forward, experts", begins="<s>", ends="</s>",
        template=None, config=dict(rope_parameters=theta(5e5), num_hidden_layers=2)),
    "stablelm": dict(
        of="StableLM-2-1.6B", kind="stablelm", layers="two alike", ends="<|endoftext|>", template=None,
        config=dict(vocab_size=100352, hidden_size=2048, intermediate_size=5632, use_qkv_bias=True,
                    rope_parameters=theta(1e4, partial_rotary_factor=0.25), num_hidden_layers=2)),
    "starcoder2": dict(
        of="StarCoder2-3B", kind="starcoder2", layers="two alike", tokenizer="gguf:starcoder", ends="<|endoftext|>",
        template=None,
        config=dict(max_position_embeddings=16384, sliding_window=4096,
                    rope_parameters=theta(999999.4420358813), num_hidden_layers=2)),
    "gpt2": dict(
        of="GPT-2", kind="gpt2", layers="two alike", tokenizer="gguf:gpt-2", ends="<|endoftext|>", template=None,
        config=dict(n_layer=2), saved=dict(n_ctx=1024)),
    "deepseek2": dict(
        of="DeepSeek-V2-Lite", kind="deepseek_v2", layers="feed-forward, experts",
        begins="<｜begin▁of▁sentence｜>", ends="<｜end▁of▁sentence｜>", template=None,
        config=dict(hidden_size=2048, intermediate_size=10944, num_attention_heads=16, num_key_value_heads=16,
                    q_lora_rank=None, num_experts_per_tok=6, moe_intermediate_size=1408, first_k_dense_replace=1,
                    n_group=1, topk_group=1, max_position_embeddings=163840, num_hidden_layers=2,
                    rope_parameters=yarn(40, 4096, mscale=0.707, mscale_all_dim=0.707))),
    "deepseek2:moonlight": dict(
        of="Moonlight-16B-A3B", kind="deepseek_v3", layers="feed-forward, experts", ends="<|im_end|>",
        template="moonshotai-Kimi-K2", spoken="Kimi K2's",
        config=dict(vocab_size=163840, hidden_size=2048, intermediate_size=11264, moe_intermediate_size=1408,
                    num_attention_heads=16, num_key_value_heads=16, n_shared_experts=2, n_routed_experts=64,
                    routed_scaling_factor=2.446, q_lora_rank=None, n_group=1, topk_group=1, num_experts_per_tok=6,
                    first_k_dense_replace=1, rms_norm_eps=1e-5, max_position_embeddings=8192,
                    rope_parameters=theta(5e4), num_hidden_layers=2),
        saved=NOAUX, apart="transformers adds 1e-6 to what a latent vector is normed by, llama.cpp rms_norm_eps"),
    "deepseek2:v3": dict(
        of="DeepSeek-V3.1", kind="deepseek_v3", layers="feed-forward, experts", less="64 of 256 experts", weights="FP8",
        tokenizer="npm:tokenizer-deepseek_v3", begins="<｜begin▁of▁sentence｜>", ends="<｜end▁of▁sentence｜>",
        template="deepseek-ai-DeepSeek-V3.1",
        config=dict(n_routed_experts=64, first_k_dense_replace=1, max_position_embeddings=163840, num_hidden_layers=2,
                    rope_parameters=yarn(40, 4096, mscale=1.0, mscale_all_dim=1.0)),
        saved=NOAUX, apart="texts begin with a token by tokenizer_config.json, not by tokenizer.json, and so the GGUF"),
}

# ---- recurrent states ------------------------------------------------------------------------------

RECURRENT = {
    "qwen35": dict(
        of="Qwen3.5-0.8B", kind="qwen3_5_text", layers="delta rule, attention", tokenizer="gguf:qwen35",
        ends="<|im_end|>", template="Qwen3.5-4B", zero=True, convert=["--no-mtp"],
        config=dict(hidden_size=1024, intermediate_size=3584, num_attention_heads=8, num_key_value_heads=2,
                    linear_num_key_heads=16, linear_num_value_heads=16, tie_word_embeddings=True,
                    num_hidden_layers=2, layer_types=LINEAR_FULL),
        saved=dict(full_attention_interval=2)),
    "qwen35moe": dict(
        of="Qwen3.5-35B-A3B", kind="qwen3_5_moe_text", layers="delta rule, attention", tokenizer="gguf:qwen35",
        ends="<|im_end|>", template="Qwen3.5-4B", zero=True, convert=["--no-mtp"],
        config=dict(num_hidden_layers=2, layer_types=LINEAR_FULL), saved=dict(full_attention_interval=2),
        apart="the converter computes A, and rounds it"),
    "qwen3next": dict(
        of="Qwen3-Next-80B-A3B", kind="qwen3_next", layers="delta rule, attention",
        tokenizer="gguf:qwen2", called="Qwen2's", ends="<|im_end|>", template="Qwen-Qwen3-0.6B", spoken="Qwen3's",
        zero=True, convert=["--no-mtp"], config=dict(num_hidden_layers=2, layer_types=LINEAR_FULL), saved=dict(full_attention_interval=2)),
    "lfm2": dict(
        of="LFM2-350M", kind="lfm2", layers="convolution, attention", begins="<|startoftext|>", ends="<|im_end|>",
        template="LFM2.5-Instruct", spoken="LFM2.5's",
        config=dict(vocab_size=65536, hidden_size=1024, num_attention_heads=16, num_key_value_heads=8,
                    block_ff_dim=6656, block_auto_adjust_ff_dim=True, block_multiple_of=256, conv_L_cache=3,
                    rope_parameters=theta(1e6), num_hidden_layers=2, layer_types=["conv", "full_attention"])),
    "lfm2moe": dict(
        of="LFM2-8B-A1B", kind="lfm2_moe", layers="convolution, attention with experts", begins="<|startoftext|>",
        ends="<|im_end|>", template="LFM2-8B-A1B",
        config=dict(vocab_size=65536, hidden_size=2048, intermediate_size=7168, moe_intermediate_size=1792,
                    num_attention_heads=32, num_key_value_heads=8, num_dense_layers=1, num_experts=32,
                    num_experts_per_tok=4, tie_word_embeddings=True, rope_parameters=theta(1e6),
                    num_hidden_layers=2, layer_types=["conv", "full_attention"])),
    "granitehybrid": dict(
        of="Granite-4.0-H-Small", kind="granitemoehybrid", layers="Mamba-2, attention, both with experts",
        ends="<|end_of_text|>", template="ibm-granite-granite-4.0",
        config=dict(vocab_size=100352, hidden_size=4096, intermediate_size=768, num_attention_heads=32,
                    num_key_value_heads=8, num_local_experts=72, num_experts_per_tok=10,
                    shared_intermediate_size=1536, mamba_d_state=128, mamba_d_conv=4, mamba_expand=2,
                    mamba_n_heads=128, mamba_d_head=64, mamba_n_groups=1, tie_word_embeddings=True,
                    embedding_multiplier=12.0, attention_multiplier=0.0078125, residual_multiplier=0.22,
                    logits_scaling=16.0, num_hidden_layers=2, layer_types=MAMBA_ATTENTION),
        saved=dict(layer_types=MAMBA_ATTENTION)),
    "nemotron_h": dict(
        of="Nemotron-H-8B", kind="nemotron_h", layers="Mamba-2, feed-forward, attention", ends="<SPECIAL_12>",
        control=["<SPECIAL_10>", "<SPECIAL_11>"], template="NVIDIA-Nemotron-Nano-v2", spoken="Nemotron Nano 2's",
        config=dict(num_hidden_layers=3, layers_block_type=["mamba", "mlp", "attention"])),
    "nemotron_h_moe": dict(
        of="Nemotron-3-Nano-30B-A3B", kind="nemotron_h", layers="Mamba-2, experts, attention", ends="<|im_end|>",
        template="NVIDIA-Nemotron-3-Nano-30B-A3B-BF16",
        config=dict(vocab_size=131072, hidden_size=2688, num_attention_heads=32, num_key_value_heads=2, head_dim=128,
                    mamba_num_heads=64, mamba_head_dim=64, ssm_state_size=128, n_groups=8, n_routed_experts=128,
                    num_experts_per_tok=6, moe_intermediate_size=1856, n_shared_experts=1,
                    moe_shared_expert_intermediate_size=3712, routed_scaling_factor=2.5, n_group=1, topk_group=1,
                    num_hidden_layers=3, layers_block_type=["mamba", "moe", "attention"])),
    "falcon-h1": dict(
        of="Falcon-H1-Tiny-90M", kind="falcon_h1", layers="two alike", ends="<|end_of_text|>", template=None,
        config=dict(vocab_size=32768, hidden_size=512, intermediate_size=768, num_attention_heads=8,
                    num_key_value_heads=2, head_dim=64, mamba_d_ssm=768, mamba_n_heads=24, mamba_d_head=32,
                    mamba_d_state=64, mamba_n_groups=1, mamba_d_conv=4, mamba_expand=2, tie_word_embeddings=True,
                    num_hidden_layers=2)),
    "mamba2": dict(
        of="Mamba-Codestral-7B", kind="mamba2", layers="two alike",
        tokenizer="mistral:mistral_instruct_tokenizer_240323.model.v3", begins="<s>", ends="</s>", template=None,
        config=dict(num_hidden_layers=2)),
}

SHAPES = ATTENTION | RECURRENT
