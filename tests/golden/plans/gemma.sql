-- llmsql plan 1 · small-gemma · gemma3 · context 4096 · chunk 128 · logits rows 8
-- weights: 166.1 kB stored (q8 60.9 kB + f16 102.4 kB + f32 2.8 kB)
-- memory: activations 196.6 kB, key-value cache 610.3 kB when the context is full

--@ init
CREATE VIRTUAL TABLE temp.param USING llm_param(model='small-gemma', catalogue='9ce61668698c71a8');
INSERT INTO param(id, name, type, rows, cols) VALUES
  (1, 'token_embd', 'q8', 96, 64),
  (2, 'layer.0.attn_norm', 'f32', NULL, 64),
  (3, 'layer.0.attn_q', 'q8', 128, 64),
  (4, 'layer.0.attn_k', 'q8', 32, 64),
  (5, 'layer.0.attn_v', 'q8', 32, 64),
  (6, 'layer.0.attn_q_norm', 'f32', NULL, 32),
  (7, 'layer.0.attn_k_norm', 'f32', NULL, 32),
  (8, 'layer.0.attn_output', 'q8', 64, 128),
  (9, 'layer.0.post_attention_norm', 'f32', NULL, 64),
  (10, 'layer.0.ffn_norm', 'f32', NULL, 64),
  (11, 'layer.0.ffn_gate', 'q8', 160, 64),
  (12, 'layer.0.ffn_up', 'q8', 160, 64),
  (13, 'layer.0.ffn_down', 'q8', 64, 160),
  (14, 'layer.0.post_ffw_norm', 'f32', NULL, 64),
  (15, 'layer.1.attn_norm', 'f32', NULL, 64),
  (16, 'layer.1.attn_q', 'f16', 128, 64),
  (17, 'layer.1.attn_k', 'f16', 32, 64),
  (18, 'layer.1.attn_v', 'f16', 32, 64),
  (19, 'layer.1.attn_q_norm', 'f32', NULL, 32),
  (20, 'layer.1.attn_k_norm', 'f32', NULL, 32),
  (21, 'layer.1.attn_output', 'f16', 64, 128),
  (22, 'layer.1.post_attention_norm', 'f32', NULL, 64),
  (23, 'layer.1.ffn_norm', 'f32', NULL, 64),
  (24, 'layer.1.ffn_gate', 'f16', 160, 64),
  (25, 'layer.1.ffn_up', 'f16', 160, 64),
  (26, 'layer.1.ffn_down', 'f16', 64, 160),
  (27, 'layer.1.post_ffw_norm', 'f32', NULL, 64),
  (28, 'output_norm', 'f32', NULL, 64);
CREATE VIRTUAL TABLE temp.tensor USING llm_tensor(arena=196608);
CREATE VIRTUAL TABLE temp.slot USING llm_slot();
INSERT INTO tensor(id, name, type, rows, heads, width, stride, offset, slice_of) VALUES
  (1, 'x', 'f32', 128, 1, 64, 256, 163840, NULL),
  (2, 'h', 'q8', 128, 1, 64, 128, 98304, NULL),
  (3, 'q, k, v', 'f32', 128, 1, 192, 768, 0, NULL),
  (4, 'q', 'f32', 128, 4, 32, 768, 0, 3),
  (5, 'q', 'f32', 128, 4, 32, 768, 0, NULL),
  (6, 'k', 'f32', 128, 1, 32, 768, 512, 3),
  (7, 'v', 'f32', 128, 1, 32, 768, 640, 3),
  (8, 'attention', 'q8', 128, 1, 128, 192, 98304, NULL),
  (9, 'linear', 'f32', 128, 1, 64, 256, 0, NULL),
  (10, 'x', 'f32', 128, 1, 64, 256, 163840, NULL),
  (11, 'h', 'q8', 128, 1, 64, 128, 32768, NULL),
  (12, 'mul', 'q8', 128, 1, 160, 256, 0, NULL),
  (13, 'linear', 'f32', 128, 1, 64, 256, 32768, NULL),
  (14, 'x', 'f32', 128, 1, 64, 256, 163840, NULL),
  (15, 'h', 'f32', 128, 1, 64, 256, 98304, NULL),
  (16, 'q, k, v', 'f32', 128, 1, 192, 768, 0, NULL),
  (17, 'q', 'f32', 128, 4, 32, 768, 0, 16),
  (18, 'q', 'f32', 128, 4, 32, 768, 0, NULL),
  (19, 'k', 'f32', 128, 1, 32, 768, 512, 16),
  (20, 'v', 'f32', 128, 1, 32, 768, 640, 16),
  (21, 'attention', 'f32', 128, 1, 128, 512, 98304, NULL),
  (22, 'linear', 'f32', 128, 1, 64, 256, 0, NULL),
  (23, 'x', 'f32', 128, 1, 64, 256, 163840, NULL),
  (24, 'h', 'f32', 8, 1, 64, 256, 5120, NULL),
  (25, 'mul', 'f32', 8, 1, 160, 640, 0, NULL),
  (26, 'linear', 'f32', 8, 1, 64, 256, 5120, NULL),
  (27, 'rms_norm', 'q8', 8, 1, 64, 128, 3072, NULL),
  (28, 'logits', 'f32', 8, 1, 96, 384, 0, NULL);
CREATE VIRTUAL TABLE temp.kv_layer USING llm_kv_layer();
CREATE VIRTUAL TABLE temp.kv USING llm_kv(context=4096, type='f16', sequences=1);
INSERT INTO kv_layer(layer, heads, width, window) VALUES
  (0, 1, 32, 512),
  (1, 1, 32, 0);

--@ forward :tokens :position :sequence
-- x = embed(token_embd, tokens) * 8.0  f32[T, 64]
INSERT INTO slot(id, data)
SELECT 1, llm_scale(llm_embed(w.data, :tokens), 8.0)
FROM param w WHERE w.id = 1;

-- layer 0
-- h = rms_norm(x, attn_norm)  q8[T, 64]
INSERT INTO slot(id, data)
SELECT 2, llm_quantize(llm_rms_norm(x.data, w.data, 1e-05))
FROM tensor x, param w WHERE x.id = 1 AND w.id = 2;

-- q, k, v = linear(h, attn_q … attn_v)  f32[T, 192]
INSERT INTO slot(id, data)
SELECT 3, llm_concat(llm_linear(h.data, w.data))
FROM tensor h, param w WHERE h.id = 2 AND w.id BETWEEN 3 AND 5;

-- q = rope(rms_norm(q, attn_q_norm))  f32[T, 4, 32], in place
INSERT INTO slot(id, data)
SELECT 5, llm_rope(llm_rms_norm(q.data, w.data, 1e-05), :position, 10000.0)
FROM tensor q, param w WHERE q.id = 4 AND w.id = 6;

-- cache 0: rope(rms_norm(k, attn_k_norm)), v  f16[T, 32]
INSERT INTO kv(sequence, layer, position, k, v)
SELECT :sequence, 0, :position, llm_rope(llm_rms_norm(k.data, w.data, 1e-05), :position, 10000.0), v.data
FROM tensor k, tensor v, param w WHERE k.id = 6 AND v.id = 7 AND w.id = 7;

-- attention = attention(q, cache 0, window 512)  q8[T, 128]
INSERT INTO slot(id, data)
SELECT 8, llm_quantize(llm_attention(q.data, kv.k, kv.v, kv.position, :position, 0.17677669529663687, 512))
FROM tensor q, kv
WHERE q.id = 5 AND kv.sequence = :sequence AND kv.layer = 0 AND kv.position > :position - 543;

-- linear = linear(attention, attn_output)  f32[T, 64]
INSERT INTO slot(id, data)
SELECT 9, llm_linear(attention.data, w.data)
FROM tensor attention, param w WHERE attention.id = 8 AND w.id = 8;

-- x = x + rms_norm(linear, post_attention_norm)  f32[T, 64], in place
INSERT INTO slot(id, data)
SELECT 10, llm_add(x.data, llm_rms_norm(linear.data, w.data, 1e-05))
FROM tensor x, tensor linear, param w WHERE x.id = 1 AND linear.id = 9 AND w.id = 9;

-- h = rms_norm(x, ffn_norm)  q8[T, 64]
INSERT INTO slot(id, data)
SELECT 11, llm_quantize(llm_rms_norm(x.data, w.data, 1e-05))
FROM tensor x, param w WHERE x.id = 10 AND w.id = 10;

-- mul = gelu(linear(h, ffn_gate)) * linear(h, ffn_up)  q8[T, 160]
INSERT INTO slot(id, data)
SELECT 12, llm_quantize(llm_mul(llm_gelu(llm_linear(h.data, ffn_gate.data)), llm_linear(h.data, ffn_up.data)))
FROM tensor h, param ffn_gate, param ffn_up WHERE h.id = 11 AND ffn_gate.id = 11 AND ffn_up.id = 12;

-- linear = linear(mul, ffn_down)  f32[T, 64]
INSERT INTO slot(id, data)
SELECT 13, llm_linear(mul.data, w.data)
FROM tensor mul, param w WHERE mul.id = 12 AND w.id = 13;

-- x = x + rms_norm(linear, post_ffw_norm)  f32[T, 64], in place
INSERT INTO slot(id, data)
SELECT 14, llm_add(x.data, llm_rms_norm(linear.data, w.data, 1e-05))
FROM tensor x, tensor linear, param w WHERE x.id = 10 AND linear.id = 13 AND w.id = 14;

-- layer 1
-- h = rms_norm(x, attn_norm)  f32[T, 64]
INSERT INTO slot(id, data)
SELECT 15, llm_rms_norm(x.data, w.data, 1e-05)
FROM tensor x, param w WHERE x.id = 14 AND w.id = 15;

-- q, k, v = linear(h, attn_q … attn_v)  f32[T, 192]
INSERT INTO slot(id, data)
SELECT 16, llm_concat(llm_linear(h.data, w.data))
FROM tensor h, param w WHERE h.id = 15 AND w.id BETWEEN 16 AND 18;

-- q = rope(rms_norm(q, attn_q_norm))  f32[T, 4, 32], in place
INSERT INTO slot(id, data)
SELECT 18, llm_rope(llm_rms_norm(q.data, w.data, 1e-05), :position, 1000000.0)
FROM tensor q, param w WHERE q.id = 17 AND w.id = 19;

-- cache 1: rope(rms_norm(k, attn_k_norm)), v  f16[T, 32]
INSERT INTO kv(sequence, layer, position, k, v)
SELECT :sequence, 1, :position, llm_rope(llm_rms_norm(k.data, w.data, 1e-05), :position, 1000000.0), v.data
FROM tensor k, tensor v, param w WHERE k.id = 19 AND v.id = 20 AND w.id = 20;

-- attention = attention(q, cache 1)  f32[T, 128]
INSERT INTO slot(id, data)
SELECT 21, llm_attention(q.data, kv.k, kv.v, kv.position, :position, 0.17677669529663687)
FROM tensor q, kv WHERE q.id = 18 AND kv.sequence = :sequence AND kv.layer = 1;

-- linear = linear(attention, attn_output)  f32[T, 64]
INSERT INTO slot(id, data)
SELECT 22, llm_linear(attention.data, w.data)
FROM tensor attention, param w WHERE attention.id = 21 AND w.id = 21;

-- x = x + rms_norm(linear, post_attention_norm)  f32[T, 64], in place
INSERT INTO slot(id, data)
SELECT 23, llm_add(x.data, llm_rms_norm(linear.data, w.data, 1e-05))
FROM tensor x, tensor linear, param w WHERE x.id = 14 AND linear.id = 22 AND w.id = 22;

--@ logits :first :rows

-- layer 1
-- h = rms_norm(rows(x), ffn_norm)  f32[rows, 64]
INSERT INTO slot(id, data)
SELECT 24, llm_rms_norm(llm_rows(x.data, :first, :rows), w.data, 1e-05)
FROM tensor x, param w WHERE x.id = 23 AND w.id = 23;

-- mul = gelu(linear(h, ffn_gate)) * linear(h, ffn_up)  f32[rows, 160]
INSERT INTO slot(id, data)
SELECT 25, llm_mul(llm_gelu(llm_linear(h.data, ffn_gate.data)), llm_linear(h.data, ffn_up.data))
FROM tensor h, param ffn_gate, param ffn_up WHERE h.id = 24 AND ffn_gate.id = 24 AND ffn_up.id = 25;

-- linear = linear(mul, ffn_down)  f32[rows, 64]
INSERT INTO slot(id, data)
SELECT 26, llm_linear(mul.data, w.data)
FROM tensor mul, param w WHERE mul.id = 25 AND w.id = 26;

-- after the layers
-- rms_norm = rms_norm(rows(x) + rms_norm(linear, post_ffw_norm), output_norm)  q8[rows, 64]
INSERT INTO slot(id, data)
SELECT 27, llm_quantize(llm_rms_norm(llm_add(llm_rows(x.data, :first, :rows), llm_rms_norm(linear.data, post_ffw_norm.data, 1e-05)), output_norm.data, 1e-05))
FROM tensor x, tensor linear, param post_ffw_norm, param output_norm
WHERE x.id = 23 AND linear.id = 26 AND post_ffw_norm.id = 27 AND output_norm.id = 28;

-- logits = linear(rms_norm, token_embd)  f32[rows, 96]
INSERT INTO slot(id, data)
SELECT 28, llm_linear(rms_norm.data, w.data)
FROM tensor rms_norm, param w WHERE rms_norm.id = 27 AND w.id = 1;

-- logits  f32[rows, 96]
SELECT data FROM tensor WHERE id = 28;

--@ end 33
