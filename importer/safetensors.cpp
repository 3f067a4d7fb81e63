// SPDX-License-Identifier: MIT
// Reads safetensors headers. See safetensors.h.
#include "importer/safetensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <utility>

#include "common/error.h"
#include "importer/json.h"

namespace llmsql {
namespace {

// Real headers are below 1 MB; the format allows 100. What is read is kept small whatever is said.
constexpr uint64_t kLongestHeader = 16 << 20;
constexpr size_t kMostTensorsOfFile = 65536;
constexpr size_t kLongestName = 512;
constexpr size_t kMostDimensions = 8;

// Types that the importer cannot read are here by name and size, so that a file that holds some can
// still be checked, and used where a graph does not need those tensors. The others are GGUF's.
constexpr uint32_t kNone = ~0u;
constexpr std::array kDtypes{
    GgmlTypeInfo{kNone, "BOOL", 1, 1},    GgmlTypeInfo{kNone, "U8", 1, 1},
    GgmlTypeInfo{kNone, "I8", 1, 1},      GgmlTypeInfo{kNone, "F8_E5M2", 1, 1},
    GgmlTypeInfo{kNone, "F8_E4M3", 1, 1}, GgmlTypeInfo{kNone, "F8_E8M0", 1, 1},
    GgmlTypeInfo{kNone, "I16", 1, 2},     GgmlTypeInfo{kNone, "U16", 1, 2},
    GgmlTypeInfo{kNone, "I32", 1, 4},     GgmlTypeInfo{kNone, "U32", 1, 4},
    GgmlTypeInfo{kNone, "I64", 1, 8},     GgmlTypeInfo{kNone, "U64", 1, 8},
    GgmlTypeInfo{kNone, "F64", 1, 8},     GgmlTypeInfo{kNone, "C64", 1, 8},
};

const GgmlTypeInfo* type_named(std::string_view name) {
    for (const GgmlType type : {GgmlType::f32, GgmlType::f16, GgmlType::bf16})
        if (info_of(type).name == name) return &info_of(type);
    const auto found = std::ranges::find(kDtypes, name, &GgmlTypeInfo::name);
    return found == kDtypes.end() ? nullptr : &*found;
}

/// A whole number from 0 that fits 63 bits; nothing if it is something else.
std::optional<uint64_t> natural(const Json& value) {
    if (!value.is_number_unsigned()) return std::nullopt;
    const auto number = value.get<uint64_t>();
    if (number > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return std::nullopt;
    return number;
}

/// One entry of the header; `data` is where the file's data starts.
SourceTensor read_entry(const RandomAccessFile& file, const std::string& name, const Json& entry,
                        uint64_t data) {
    const std::string where = fmt::format("{}: tensor {}", file.name(), printable(name));
    if (name.size() > kLongestName)
        fail("{}: the name is {} bytes long, more than the {} there may be", where, name.size(),
             kLongestName);
    const Json* dtype = member(entry, "dtype");
    const Json* shape = member(entry, "shape");
    const Json* offsets = member(entry, "data_offsets");
    if (!dtype || !dtype->is_string() || !shape || !shape->is_array() || !offsets ||
        !offsets->is_array() || offsets->size() != 2)
        fail("{}: its entry in the header lacks dtype, shape or data_offsets: the file is damaged",
             where);
    SourceTensor tensor;
    tensor.name = name;
    tensor.file = &file;
    tensor.type = type_named(dtype->get_ref<const std::string&>());
    if (!tensor.type)
        fail("{}: unknown dtype {}; the ones that can be read are F32, F16 and BF16", where,
             printable(dtype->get_ref<const std::string&>()));
    if (shape->size() > kMostDimensions)
        fail("{}: has {} dimensions, more than the {} there may be", where, shape->size(),
             kMostDimensions);
    tensor.bytes = static_cast<uint64_t>(tensor.type->block_bytes);
    bool plausible = true;  // the product so far is at most the file's size
    bool empty = false;
    for (const Json& dimension : *shape) {
        const auto size = natural(dimension);
        if (!size) fail("{}: a dimension is not a whole number", where);
        tensor.shape.push_back(static_cast<int64_t>(*size));
        if (*size == 0)
            empty = true;
        else if (tensor.bytes > file.size() / *size)
            plausible = false;
        else if (plausible)
            tensor.bytes *= *size;
    }
    if (empty) tensor.bytes = 0;
    if (!empty && !plausible)
        fail("{}: the shape [{}] is more than the file's {} bytes can hold", where,
             fmt::join(tensor.shape, ", "), file.size());
    const auto begin = natural((*offsets)[0]), end = natural((*offsets)[1]);
    if (!begin || !end || *begin > *end)
        fail("{}: its data_offsets are not two whole numbers in order", where);
    if (*end > file.size() - data)
        fail(
            "{}: its data end at byte {} of the data, past the file's end at byte {}: the file is "
            "truncated or damaged",
            where, *end, file.size());
    if (*end - *begin != tensor.bytes)
        fail("{}: has {} bytes of data, but {} [{}] takes {}", where, *end - *begin,
             tensor.type->name, fmt::join(tensor.shape, ", "), tensor.bytes);
    tensor.offset = data + *begin;
    return tensor;
}

void check_layout(const RandomAccessFile& file, std::vector<SourceTensor>& tensors, uint64_t data) {
    std::ranges::sort(tensors, [](const SourceTensor& a, const SourceTensor& b) {
        return std::pair(a.offset, a.bytes) < std::pair(b.offset, b.bytes);
    });
    uint64_t end = data;
    const std::string* last = nullptr;
    for (const SourceTensor& tensor : tensors) {
        if (tensor.offset < end)
            fail("{}: the tensors {} and {} overlap at byte {}", file.name(), printable(*last),
                 printable(tensor.name), tensor.offset);
        if (tensor.offset > end)
            fail("{}: no tensor claims the bytes {} to {}, before {}: the file is damaged",
                 file.name(), end, tensor.offset, printable(tensor.name));
        end = tensor.offset + tensor.bytes;
        last = &tensor.name;
    }
    if (end != file.size())
        fail("{}: is {} bytes long, but its tensors end at byte {}: the file is damaged",
             file.name(), file.size(), end);
}

}  // namespace

std::vector<SourceTensor> read_safetensors(const RandomAccessFile& file) {
    uint64_t length = 0;
    if (file.size() < sizeof length)
        fail("{}: is not a safetensors file: it is only {} bytes long", file.name(), file.size());
    file.read(0, &length, sizeof length);
    if (length > file.size() - sizeof length)
        fail("{}: claims a header of {} bytes, but has {}: it is truncated, or no safetensors file",
             file.name(), length, file.size());
    if (length > kLongestHeader)
        fail("{}: claims a header of {} bytes, more than the {} that can be read", file.name(),
             length, kLongestHeader);
    std::string header(length, '\0');
    file.read(sizeof length, header.data(), header.size());
    if (header.empty() || header[0] != '{')
        fail("{}: is not a safetensors file (its header does not start with \"{{\")", file.name());

    const uint64_t data = sizeof length + length;
    std::vector<SourceTensor> tensors;
    JsonLimits limits{.bytes = kLongestHeader};
    // Each tensor is checked as it is read, so that nothing of the JSON needs to be kept.
    limits.take = [&](const JsonPath& path, Json& value) {
        if (path.size() != 1) return false;
        if (path[0] == "__metadata__") return true;
        if (tensors.size() == kMostTensorsOfFile)
            fail("{}: has more than {} tensors, more than any model has: the file is damaged",
                 file.name(), kMostTensorsOfFile);
        tensors.push_back(read_entry(file, path[0], value, data));
        return true;
    };
    parse_json(header, file.name() + ": header", limits);

    std::vector<std::string_view> names;
    for (const SourceTensor& tensor : tensors) names.push_back(tensor.name);
    std::ranges::sort(names);
    if (const auto twice = std::ranges::adjacent_find(names); twice != names.end())
        fail("{}: has the tensor {} twice", file.name(), printable(*twice));
    check_layout(file, tensors, data);
    return tensors;
}

}  // namespace llmsql
