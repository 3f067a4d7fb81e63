-- llmsql plan 1 · small-qwen · qwen2 · context 1024 · chunk 128 · logits rows 8
-- weights: 81.0 kB stored (q4 7.7 kB + q8 58.8 kB + f16 12.3 kB + f32 2.3 kB)
-- memory: activations 114.7 kB, key-value cache 262.1 kB when the context is full

--@ init
CREATE VIRTUAL TABLE temp.param USING llm_param(model='small-qwen', catalogue='5f4f1dc69c0768ff');
INSERT INTO param(id, name, type, rows, cols) VALUES
  (1, 'token_embd', 'q8', 96, 64),
  (2, 'output', 'f16', 96, 64),
  (3, 'layer.0.attn_norm', 'f32', NULL, 64),
  (4, 'layer.0.attn_q', 'q4', 64, 64),
  (5, 'layer.0.attn_k', 'q4', 32, 64),
  (6, 'layer.0.attn_v', 'q8', 32, 64),
  (7, 'layer.0.attn_q_bias', 'f32', NULL, 64),
  (8, 'layer.0.attn_k_bias', 'f32', NULL, 32),
  (9, 'layer.0.attn_v_bias', 'f32', NULL, 32),
  (10, 'layer.0.attn_output', 'q8', 64, 64),
  (11, 'layer.0.ffn_norm', 'f32', NULL, 64),
  (12, 'layer.0.ffn_gate', 'q8', 96, 64),
  (13, 'layer.0.ffn_up', 'q8', 96, 64),
  (14, 'layer.0.ffn_down', 'q8', 64, 96),
  (15, 'layer.1.attn_norm', 'f32', NULL, 64),
  (16, 'layer.1.attn_q', 'q4', 64, 64),
  (17, 'layer.1.attn_k', 'q4', 32, 64),
  (18, 'layer.1.attn_v', 'q8', 32, 64),
  (19, 'layer.1.attn_q_bias', 'f32', NULL, 64),
  (20, 'layer.1.attn_k_bias', 'f32', NULL, 32),
  (21, 'layer.1.attn_v_bias', 'f32', NULL, 32),
  (22, 'layer.1.attn_output', 'q8', 64, 64),
  (23, 'layer.1.ffn_norm', 'f32', NULL, 64),
  (24, 'layer.1.ffn_gate', 'q8', 96, 64),
  (25, 'layer.1.ffn_up', 'q8', 96, 64),
  (26, 'layer.1.ffn_down', 'q8', 64, 96),
  (27, 'output_norm', 'f32', NULL, 64);
CREATE VIRTUAL TABLE temp.tensor USING llm_tensor(arena=114688);
CREATE VIRTUAL TABLE temp.slot USING llm_slot();
INSERT INTO tensor(id, name, type, rows, heads, width, stride, offset, slice_of) VALUES
  (1, 'x', 'f32', 128, 1, 64, 256, 65536, NULL),
  (2, 'h', 'q8', 128, 1, 64, 128, 98304, NULL),
  (3, 'q, k, v', 'f32', 128, 1, 128, 512, 0, NULL),
  (4, 'q', 'f32', 128, 4, 16, 512, 0, 3),
  (5, 'q', 'f32', 128, 4, 16, 512, 0, NULL),
  (6, 'k', 'f32', 128, 2, 16, 512, 256, 3),
  (7, 'v', 'f32', 128, 2, 16, 512, 384, 3),
  (8, 'attention', 'q8', 128, 1, 64, 128, 98304, NULL),
  (9, 'x', 'f32', 128, 1, 64, 256, 65536, NULL),
  (10, 'h', 'q8', 128, 1, 64, 128, 24576, NULL),
  (11, 'mul', 'q8', 128, 1, 96, 192, 0, NULL),
  (12, 'x', 'f32', 128, 1, 64, 256, 65536, NULL),
  (13, 'h', 'q8', 128, 1, 64, 128, 98304, NULL),
  (14, 'q, k, v', 'f32', 128, 1, 128, 512, 0, NULL),
  (15, 'q', 'f32', 128, 4, 16, 512, 0, 14),
  (16, 'q', 'f32', 128, 4, 16, 512, 0, NULL),
  (17, 'k', 'f32', 128, 2, 16, 512, 256, 14),
  (18, 'v', 'f32', 128, 2, 16, 512, 384, 14),
  (19, 'attention', 'q8', 128, 1, 64, 128, 98304, NULL),
  (20, 'x', 'f32', 128, 1, 64, 256, 65536, NULL),
  (21, 'h', 'q8', 8, 1, 64, 128, 1536, NULL),
  (22, 'mul', 'q8', 8, 1, 96, 192, 0, NULL),
  (23, 'x', 'f32', 8, 1, 64, 256, 3072, NULL),
  (24, 'rms_norm', 'f32', 8, 1, 64, 256, 3072, NULL),
  (25, 'logits', 'f32', 8, 1, 96, 384, 0, NULL);
CREATE VIRTUAL TABLE temp.kv_layer USING llm_kv_layer();
CREATE VIRTUAL TABLE temp.kv USING llm_kv(context=1024, type='f16', sequences=1);
INSERT INTO kv_layer(layer, heads, width, window) VALUES
  (0, 2, 16, 0),
  (1, 2, 16, 0);

--@ forward :tokens :position :sequence
-- x = embed(token_embd, tokens)  f32[T, 64]
INSERT INTO slot(id, data)
SELECT 1, llm_embed(w.data, :tokens)
FROM param w WHERE w.id = 1;

-- layer 0
-- h = rms_norm(x, attn_norm)  q8[T, 64]
INSERT INTO slot(id, data)
SELECT 2, llm_quantize(llm_rms_norm(x.data, w.data, 1e-05))
FROM tensor x, param w WHERE x.id = 1 AND w.id = 3;

-- q, k, v = linear(h, attn_q … attn_v, attn_q_bias … attn_v_bias)  f32[T, 128]
INSERT INTO slot(id, data)
SELECT 3, llm_concat(llm_linear(h.data, w.data, b.data))
FROM tensor h, param w, param b WHERE h.id = 2 AND w.id BETWEEN 4 AND 6 AND b.id = w.id + 3;

-- q = rope(q)  f32[T, 4, 16], in place
INSERT INTO slot(id, data)
SELECT 5, llm_rope(q.data, :position, 1000000.0)
FROM tensor q WHERE q.id = 4;

-- cache 0: rope(k), v  f16[T, 2, 16]
INSERT INTO kv(sequence, layer, position, k, v)
SELECT :sequence, 0, :position, llm_rope(k.data, :position, 1000000.0), v.data
FROM tensor k, tensor v WHERE k.id = 6 AND v.id = 7;

-- attention = attention(q, cache 0)  q8[T, 64]
INSERT INTO slot(id, data)
SELECT 8, llm_quantize(llm_attention(q.data, kv.k, kv.v, kv.position, :position, 0.25))
FROM tensor q, kv WHERE q.id = 5 AND kv.sequence = :sequence AND kv.layer = 0;

-- x = x + linear(attention, attn_output)  f32[T, 64], in place
INSERT INTO slot(id, data)
SELECT 9, llm_add(x.data, llm_linear(attention.data, w.data))
FROM tensor x, tensor attention, param w WHERE x.id = 1 AND attention.id = 8 AND w.id = 10;

-- h = rms_norm(x, ffn_norm)  q8[T, 64]
INSERT INTO slot(id, data)
SELECT 10, llm_quantize(llm_rms_norm(x.data, w.data, 1e-05))
FROM tensor x, param w WHERE x.id = 9 AND w.id = 11;

-- mul = silu(linear(h, ffn_gate)) * linear(h, ffn_up)  q8[T, 96]
INSERT INTO slot(id, data)
SELECT 11, llm_quantize(llm_mul(llm_silu(llm_linear(h.data, ffn_gate.data)), llm_linear(h.data, ffn_up.data)))
FROM tensor h, param ffn_gate, param ffn_up WHERE h.id = 10 AND ffn_gate.id = 12 AND ffn_up.id = 13;

-- x = x + linear(mul, ffn_down)  f32[T, 64], in place
INSERT INTO slot(id, data)
SELECT 12, llm_add(x.data, llm_linear(mul.data, w.data))
FROM tensor x, tensor mul, param w WHERE x.id = 9 AND mul.id = 11 AND w.id = 14;

-- layer 1
-- h = rms_norm(x, attn_norm)  q8[T, 64]
INSERT INTO slot(id, data)
SELECT 13, llm_quantize(llm_rms_norm(x.data, w.data, 1e-05))
FROM tensor x, param w WHERE x.id = 12 AND w.id = 15;

-- q, k, v = linear(h, attn_q … attn_v, attn_q_bias … attn_v_bias)  f32[T, 128]
INSERT INTO slot(id, data)
SELECT 14, llm_concat(llm_linear(h.data, w.data, b.data))
FROM tensor h, param w, param b WHERE h.id = 13 AND w.id BETWEEN 16 AND 18 AND b.id = w.id + 3;

-- q = rope(q)  f32[T, 4, 16], in place
INSERT INTO slot(id, data)
SELECT 16, llm_rope(q.data, :position, 1000000.0)
FROM tensor q WHERE q.id = 15;

-- cache 1: rope(k), v  f16[T, 2, 16]
INSERT INTO kv(sequence, layer, position, k, v)
SELECT :sequence, 1, :position, llm_rope(k.data, :position, 1000000.0), v.data
FROM tensor k, tensor v WHERE k.id = 17 AND v.id = 18;

-- attention = attention(q, cache 1)  q8[T, 64]
INSERT INTO slot(id, data)
SELECT 19, llm_quantize(llm_attention(q.data, kv.k, kv.v, kv.position, :position, 0.25))
FROM tensor q, kv WHERE q.id = 16 AND kv.sequence = :sequence AND kv.layer = 1;

-- x = x + linear(attention, attn_output)  f32[T, 64], in place
INSERT INTO slot(id, data)
SELECT 20, llm_add(x.data, llm_linear(attention.data, w.data))
FROM tensor x, tensor attention, param w WHERE x.id = 12 AND attention.id = 19 AND w.id = 22;

--@ logits :first :rows

-- layer 1
-- h = rms_norm(rows(x), ffn_norm)  q8[rows, 64]
INSERT INTO slot(id, data)
SELECT 21, llm_quantize(llm_rms_norm(llm_rows(x.data, :first, :rows), w.data, 1e-05))
FROM tensor x, param w WHERE x.id = 20 AND w.id = 23;

-- mul = silu(linear(h, ffn_gate)) * linear(h, ffn_up)  q8[rows, 96]
INSERT INTO slot(id, data)
SELECT 22, llm_quantize(llm_mul(llm_silu(llm_linear(h.data, ffn_gate.data)), llm_linear(h.data, ffn_up.data)))
FROM tensor h, param ffn_gate, param ffn_up WHERE h.id = 21 AND ffn_gate.id = 24 AND ffn_up.id = 25;

-- x = rows(x) + linear(mul, ffn_down)  f32[rows, 64]
INSERT INTO slot(id, data)
SELECT 23, llm_add(llm_rows(x.data, :first, :rows), llm_linear(mul.data, w.data))
FROM tensor x, tensor mul, param w WHERE x.id = 20 AND mul.id = 22 AND w.id = 26;

-- after the layers
-- rms_norm = rms_norm(x, output_norm)  f32[rows, 64], in place
INSERT INTO slot(id, data)
SELECT 24, llm_rms_norm(x.data, w.data, 1e-05)
FROM tensor x, param w WHERE x.id = 23 AND w.id = 27;

-- logits = linear(rms_norm, output)  f32[rows, 96]
INSERT INTO slot(id, data)
SELECT 25, llm_linear(rms_norm.data, w.data)
FROM tensor rms_norm, param w WHERE rms_norm.id = 24 AND w.id = 2;

-- logits  f32[rows, 96]
SELECT data FROM tensor WHERE id = 25;

--@ end 30
