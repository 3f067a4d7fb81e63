// SPDX-License-Identifier: MIT
// Reads GGUF files. See gguf.h.
#include "importer/gguf.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <charconv>
#include <cmath>
#include <cstring>
#include <system_error>
#include <type_traits>
#include <utility>

#include "common/error.h"

static_assert(std::endian::native == std::endian::little,
              "GGUF and model.db are little-endian; a big-endian machine needs byte swaps here");

namespace llmsql {
namespace {

// More than any real model has, and few enough that the directory stays small in memory whatever
// the file says.
constexpr uint64_t kMostKeys = 65536;
constexpr uint64_t kMostTensors = 65536;
constexpr uint64_t kLongestKey = 1024;
constexpr uint64_t kLongestTensorName = 256;
constexpr uint64_t kLongestText = 4 * 1024 * 1024;  // of a string that is read whole
constexpr uint64_t kLongestElement = 64 * 1024;     // of an array
constexpr uint64_t kLargestAlignment = 1 << 20;
constexpr uint64_t kMostJudged = 4096;  // elements of a list that stands for something a layer
constexpr uint64_t kLongestJudged = 256;
constexpr uint64_t kMostParts = 1000;  // each is kept open

/// Bytes of a number; 0 for strings, arrays and anything that is not a type.
size_t fixed_size(uint32_t type) {
    switch (static_cast<GgufValueType>(type)) {
        case GgufValueType::u8:
        case GgufValueType::i8:
        case GgufValueType::boolean:
            return 1;
        case GgufValueType::u16:
        case GgufValueType::i16:
            return 2;
        case GgufValueType::u32:
        case GgufValueType::i32:
        case GgufValueType::f32:
            return 4;
        case GgufValueType::u64:
        case GgufValueType::i64:
        case GgufValueType::f64:
            return 8;
        case GgufValueType::string:
        case GgufValueType::array:
            return 0;
    }
    return 0;
}

double read_number(ByteScanner& scanner, GgufValueType type) {
    switch (type) {
        case GgufValueType::u8:
        case GgufValueType::boolean:
            return scanner.get<uint8_t>();
        case GgufValueType::i8:
            return scanner.get<int8_t>();
        case GgufValueType::u16:
            return scanner.get<uint16_t>();
        case GgufValueType::i16:
            return scanner.get<int16_t>();
        case GgufValueType::u32:
            return scanner.get<uint32_t>();
        case GgufValueType::i32:
            return scanner.get<int32_t>();
        case GgufValueType::f32:
            return static_cast<double>(scanner.get<float>());
        case GgufValueType::u64:
            return static_cast<double>(scanner.get<uint64_t>());
        case GgufValueType::i64:
            return static_cast<double>(scanner.get<int64_t>());
        case GgufValueType::f64:
            return scanner.get<double>();
        case GgufValueType::string:
        case GgufValueType::array:
            break;
    }
    return 0;
}

/// What the name of a part says: "x-00002-of-00003.gguf" is part 1 (from 0) of 3 of "x".
struct PartName {
    std::string start;
    uint64_t no = 0, count = 0;

    static std::optional<PartName> of(const std::filesystem::path& path) {
        std::string_view rest = path.native();
        PartName part;
        if (!take(rest, ".gguf") || !take_number(rest, part.count) || !take(rest, "-of-") ||
            !take_number(rest, part.no) || !take(rest, "-") || part.no < 1 || part.no > part.count)
            return std::nullopt;
        --part.no;
        part.start = rest;
        return part;
    }

    std::filesystem::path path(uint64_t number) const {
        return fmt::format("{}-{:05}-of-{:05}.gguf", start, number + 1, count);
    }

  private:
    static bool take(std::string_view& rest, std::string_view end) {
        if (!rest.ends_with(end)) return false;
        rest.remove_suffix(end.size());
        return true;
    }
    static bool take_number(std::string_view& rest, uint64_t& number) {
        constexpr size_t kDigits = 5;
        if (rest.size() < kDigits) return false;
        const std::string_view digits = rest.substr(rest.size() - kDigits);
        if (!std::ranges::all_of(digits, [](char c) { return c >= '0' && c <= '9'; })) return false;
        for (const char c : digits) number = number * 10 + static_cast<uint64_t>(c - '0');
        rest.remove_suffix(kDigits);
        return true;
    }
};

void require_part(const std::filesystem::path& path, const std::filesystem::path& named,
                  uint64_t no, uint64_t count) {
    std::error_code ignored;
    if (!std::filesystem::exists(path, ignored))
        fail("{}: is missing: it is part {} of the {} of the model that {} belongs to",
             path.string(), no + 1, count, named.string());
}

}  // namespace

Gguf::Gguf(const std::filesystem::path& path) : Gguf(file_of_metadata(path), Alone()) {
    if (split_number("split.count").value_or(1) > 1) take_parts(path);
}

/// The first part of a split model of which another part is named; else the file itself.
std::filesystem::path Gguf::file_of_metadata(const std::filesystem::path& path) {
    const std::optional<PartName> part = PartName::of(path);
    if (!part || part->no == 0) return path;
    const Gguf named(path, Alone());
    if (named.split_number("split.count").value_or(1) <= 1) return path;
    named.require_place(part->no, part->count);
    require_part(part->path(0), path, 0, part->count);
    return part->path(0);
}

/// A number of a part's, if it has it.
std::optional<uint64_t> Gguf::split_number(const std::string& key) const {
    const std::optional<double> value = only_number(key);
    if (!value) return std::nullopt;
    if (!(*value >= 0 && *value <= 1e9) || *value != std::floor(*value))
        fail("{}: {} is {}: the file is damaged", name(), key, *value);
    return static_cast<uint64_t>(*value);
}

/// Fails unless the file is part `no`, from 0, of `count`.
void Gguf::require_place(uint64_t no, uint64_t count) const {
    const auto own_no = split_number("split.no"), own_count = split_number("split.count");
    if (!own_no || !own_count)
        fail(
            "{}: is no part of a split model by its metadata (split.no, split.count), but by its "
            "name",
            name());
    if (*own_count != count)
        fail(
            "{}: says that its model has {} parts, by its name there are {}: the parts are of "
            "different models, or renamed",
            name(), *own_count, count);
    if (*own_no != no)
        fail(
            "{}: says that it is part {} of {}, its name that it is part {}: the parts are of "
            "different models, or renamed",
            name(), *own_no + 1, count, no + 1);
}

/// Reads the other parts of a model whose first part this is.
void Gguf::take_parts(const std::filesystem::path& named) {
    const uint64_t count = *split_number("split.count");
    if (count > kMostParts)
        fail("{}: claims to be split into {} parts, more than any model is: the file is damaged",
             name(), count);
    const std::optional<PartName> part = PartName::of(file_.name());
    if (!part)
        fail(
            "{}: is part {} of {} of a model, but its name does not end in -{:05}-of-{:05}.gguf, "
            "by which the other parts are found: give all parts their names back",
            name(), split_number("split.no").value_or(0) + 1, count,
            split_number("split.no").value_or(0) + 1, count);
    require_place(0, part->count);
    for (uint64_t no = 1; no < count; ++no) {
        require_part(part->path(no), named, no, count);
        others_.emplace_back(new Gguf(part->path(no), Alone()));
        others_.back()->require_place(no, count);
        require_same_model(*others_.back());
    }
    for (const std::unique_ptr<Gguf>& other : others_) {
        tensors_.insert(tensors_.end(), other->tensors_.begin(), other->tensors_.end());
        if (tensors_.size() > kMostTensors)
            fail("{}: its parts have more tensors than any model: the files are damaged", name());
    }
    const uint64_t expected = split_number("split.tensors.count").value_or(tensors_.size());
    index_tensors();
    if (tensors_.size() != expected)
        fail(
            "{}: its {} parts have {}, but the model has {} (split.tensors.count): the parts are "
            "of different models, or damaged",
            name(), count, counted(tensors_.size(), "tensor"), expected);
}

/// Whatever a part says that the first says too must be the same.
void Gguf::require_same_model(const Gguf& part) const {
    for (const auto& [key, value] : part.metadata_) {
        if (key == "split.no" || key == "general.alignment") continue;
        const Value* own = find(key);
        if (own && !same_value(key, *own, part, value))
            fail(
                "{}: its metadata {} is another than that of {}: they are parts of different "
                "models",
                part.name(), printable(key), name());
    }
}

bool Gguf::same_value(const std::string& key, const Value& own, const Gguf& other,
                      const Value& value) const {
    if (own.index() != value.index()) return false;
    if (const auto* number = std::get_if<double>(&own)) return *number == std::get<double>(value);
    if (const auto* flag = std::get_if<bool>(&own)) return *flag == std::get<bool>(value);
    if (const auto* string = std::get_if<GgufString>(&own))
        return string->length == std::get<GgufString>(value).length &&
               judged(key, own).text == other.judged(key, value).text;
    const auto &array = std::get<GgufArray>(own), &others = std::get<GgufArray>(value);
    return array.type == others.type && array.count == others.count;
}

uint64_t Gguf::bytes() const {
    uint64_t bytes = file_.size();
    for (const std::unique_ptr<Gguf>& other : others_) bytes += other->file_.size();
    return bytes;
}

Gguf::Gguf(const std::filesystem::path& path, Alone) : file_(path) {
    ByteScanner scanner(file_, 0);
    char magic[4] = {};
    if (file_.size() >= sizeof magic) scanner.read(magic, sizeof magic);
    if (std::memcmp(magic, "GGUF", 4) != 0)
        fail("{}: is not a GGUF file (it does not start with \"GGUF\")", name());
    const auto version = scanner.get<uint32_t>();
    if ((version & 0xffff) == 0 && version != 0)
        fail("{}: is a big-endian GGUF file; only little-endian ones can be read", name());
    if (version != 2 && version != 3)
        fail("{}: is a GGUF file of version {}; versions 2 and 3 can be read", name(), version);
    const auto tensor_count = scanner.get<uint64_t>();
    const auto key_count = scanner.get<uint64_t>();
    if (tensor_count > kMostTensors)
        fail("{}: claims {} tensors, more than any model has: the file is damaged", name(),
             tensor_count);
    if (key_count > kMostKeys)
        fail("{}: claims {} metadata keys, more than any model has: the file is damaged", name(),
             key_count);
    read_metadata(scanner, key_count);
    read_directory(scanner, tensor_count);
    check_layout();
}

std::string Gguf::read_short_string(ByteScanner& scanner, uint64_t longest,
                                    const char* what) const {
    const uint64_t at = scanner.position();
    const auto length = scanner.get<uint64_t>();
    if (length > longest)
        fail(
            "{}: {} at byte {} claims {} bytes, more than the {} there may be: the file is damaged",
            name(), what, at, length, longest);
    std::string text(length, '\0');
    scanner.read(text.data(), text.size());
    return text;
}

void Gguf::read_metadata(ByteScanner& scanner, uint64_t count) {
    for (uint64_t i = 0; i < count; ++i) {
        const std::string key = read_short_string(scanner, kLongestKey, "a metadata key");
        const auto type = scanner.get<uint32_t>();
        if (!metadata_.emplace(key, read_value(scanner, type, key)).second)
            fail("{}: has the metadata key {} twice", name(), printable(key));
    }
}

Gguf::Value Gguf::read_value(ByteScanner& scanner, uint32_t type, const std::string& key) const {
    switch (static_cast<GgufValueType>(type)) {
        case GgufValueType::boolean: {
            const auto value = scanner.get<uint8_t>();
            if (value > 1)
                fail("{}: metadata {}: {} is not a bool (at byte {})", name(), printable(key),
                     value, scanner.position() - 1);
            return value == 1;
        }
        case GgufValueType::string: {
            const auto length = scanner.get<uint64_t>();
            const GgufString string{scanner.position(), length};
            if (length > scanner.remaining())
                fail("{}: metadata {}: a string at byte {} claims {} bytes, more than the file has",
                     name(), printable(key), string.offset, length);
            scanner.skip(length);
            return string;
        }
        case GgufValueType::array:
            return read_array(scanner, key);
        default:
            break;
    }
    if (fixed_size(type) == 0)
        fail("{}: metadata {}: unknown value type {} (at byte {})", name(), printable(key), type,
             scanner.position() - 4);
    return read_number(scanner, static_cast<GgufValueType>(type));
}

GgufArray Gguf::read_array(ByteScanner& scanner, const std::string& key) const {
    const auto type = scanner.get<uint32_t>();
    const auto count = scanner.get<uint64_t>();
    const GgufArray array{static_cast<GgufValueType>(type), count, scanner.position()};
    if (array.type == GgufValueType::array)
        fail("{}: metadata {}: an array of arrays (at byte {}) cannot be read", name(),
             printable(key), array.offset);
    const bool strings = array.type == GgufValueType::string;
    const uint64_t least = strings ? sizeof(uint64_t) : fixed_size(type);
    if (least == 0)
        fail("{}: metadata {}: unknown element type {} (at byte {})", name(), printable(key), type,
             array.offset);
    if (count > scanner.remaining() / least)
        fail("{}: metadata {}: an array at byte {} claims {} elements, more than the file has",
             name(), printable(key), array.offset, count);
    if (!strings) {
        scanner.skip(count * least);
        return array;
    }
    for (uint64_t i = 0; i < count; ++i) {
        const auto length = scanner.get<uint64_t>();
        if (length > scanner.remaining())
            fail("{}: metadata {}: element {} at byte {} claims {} bytes, more than the file has",
                 name(), printable(key), i, scanner.position(), length);
        scanner.skip(length);
    }
    return array;
}

void Gguf::read_directory(ByteScanner& scanner, uint64_t count) {
    tensors_.reserve(count);
    for (uint64_t i = 0; i < count; ++i) {
        SourceTensor tensor;
        tensor.name = read_short_string(scanner, kLongestTensorName, "a tensor's name");
        const std::string shown = printable(tensor.name);
        const auto dims = scanner.get<uint32_t>();
        if (dims < 1 || dims > 4)
            fail("{}: tensor {}: {} dimensions, GGUF knows 1 to 4 (at byte {})", name(), shown,
                 dims, scanner.position() - 4);
        uint64_t elements = 1;
        for (uint32_t d = 0; d < dims; ++d) {
            const auto size = scanner.get<uint64_t>();
            // 8 weights a byte is less than any type takes: more than that cannot be in the file.
            if (size == 0 || size > file_.size() * 8 / elements)
                fail("{}: tensor {}: dimension {} is {}, which the file's {} bytes cannot hold",
                     name(), shown, d, size, file_.size());
            elements *= size;
            tensor.shape.insert(tensor.shape.begin(), static_cast<int64_t>(size));
        }
        const auto type = scanner.get<uint32_t>();
        tensor.type = find_ggml_type(type);
        if (const std::string_view removed = removed_ggml_type(type); !removed.empty())
            fail(
                "{}: tensor {}: is of the type {}, which GGUF has no more; a newer file of the "
                "model is needed",
                name(), shown, removed);
        if (!tensor.type)
            fail("{}: tensor {}: unknown type {} (at byte {}); the types that can be read are {}",
                 name(), shown, type, scanner.position() - 4, readable_ggml_types());
        if (tensor.shape.back() % tensor.type->block_weights != 0)
            fail("{}: tensor {}: rows of {} weights are no multiple of {}'s blocks of {}", name(),
                 shown, tensor.shape.back(), tensor.type->name, tensor.type->block_weights);
        tensor.bytes = elements / static_cast<uint64_t>(tensor.type->block_weights) *
                       static_cast<uint64_t>(tensor.type->block_bytes);
        tensor.offset = scanner.get<uint64_t>();  // from the data's start, see below
        tensor.file = &file_;
        tensors_.push_back(std::move(tensor));
    }

    const auto alignment_given = number("general.alignment").value_or(32);
    if (!(alignment_given >= 1 && alignment_given <= kLargestAlignment) ||
        !std::has_single_bit(static_cast<uint64_t>(alignment_given)) ||
        alignment_given != static_cast<double>(static_cast<uint64_t>(alignment_given)))
        fail("{}: general.alignment is {}, it must be a power of two up to {}", name(),
             alignment_given, kLargestAlignment);
    const auto alignment = static_cast<uint64_t>(alignment_given);
    const uint64_t data = (scanner.position() + alignment - 1) / alignment * alignment;
    for (SourceTensor& tensor : tensors_) {
        const std::string shown = printable(tensor.name);
        if (tensor.offset % alignment != 0)
            fail("{}: tensor {}: its offset {} is not aligned to {} bytes", name(), shown,
                 tensor.offset, alignment);
        if (data > file_.size() || tensor.offset > file_.size() - data ||
            tensor.bytes > file_.size() - data - tensor.offset)
            fail(
                "{}: tensor {}: its {} bytes at offset {} of the data reach past the file's end at "
                "byte {}: the file is truncated or damaged",
                name(), shown, tensor.bytes, tensor.offset, file_.size());
        tensor.offset += data;
    }
}

void Gguf::check_layout() {
    std::ranges::sort(tensors_, {}, &SourceTensor::offset);
    for (size_t i = 1; i < tensors_.size(); ++i)
        if (tensors_[i - 1].offset + tensors_[i - 1].bytes > tensors_[i].offset)
            fail("{}: the tensors {} and {} overlap at byte {}", name(),
                 printable(tensors_[i - 1].name), printable(tensors_[i].name), tensors_[i].offset);
    index_tensors();
}

void Gguf::index_tensors() {
    tensor_index_.clear();
    for (size_t i = 0; i < tensors_.size(); ++i) {
        const auto [first, is_new] = tensor_index_.emplace(tensors_[i].name, i);
        if (is_new) continue;
        const SourceTensor &one = tensors_[first->second], &two = tensors_[i];
        if (one.file == two.file) fail("{}: has the tensor {} twice", name(), printable(one.name));
        fail("{}: the tensor {} is in {} too: the parts are of different models, or damaged",
             two.file->name(), printable(one.name), one.file->name());
    }
}

std::string Gguf::architecture() const {
    const auto architecture = text("general.architecture");
    if (!architecture) fail("{}: does not say its architecture (general.architecture)", name());
    return *architecture;
}

const SourceTensor* Gguf::find_tensor(const std::string& name) const {
    const auto found = tensor_index_.find(name);
    return found == tensor_index_.end() ? nullptr : &tensors_[found->second];
}

const Gguf::Value* Gguf::find(const std::string& key) const {
    const auto found = metadata_.find(key);
    return found == metadata_.end() ? nullptr : &found->second;
}

std::optional<double> Gguf::number(const std::string& key) const {
    const Value* value = find(key);
    if (!value) {
        auto reader = element_of_list(key, false);
        return reader ? std::optional(reader->next_number()) : std::nullopt;
    }
    if (const auto* number = std::get_if<double>(value)) return *number;
    if (const auto* flag = std::get_if<bool>(value)) return *flag ? 1 : 0;
    if (const auto* array = std::get_if<GgufArray>(value)) return number_of_list(key, *array);
    return std::nullopt;
}

/// "key.3" is the element 3 of a list under "key": what reads it, if there is one.
std::optional<GgufArrayReader> Gguf::element_of_list(const std::string& key, bool texts) const {
    const size_t dot = key.rfind('.');
    if (dot == std::string::npos) return std::nullopt;
    uint64_t index = 0;
    const char* const last = key.data() + key.size();
    const auto [end, error] = std::from_chars(key.data() + dot + 1, last, index);
    if (error != std::errc() || end != last || dot + 1 == key.size()) return std::nullopt;
    const Value* list = find(key.substr(0, dot));
    const auto* array = list ? std::get_if<GgufArray>(list) : nullptr;
    if (!array || index >= array->count || array->count > kMostJudged ||
        (array->type == GgufValueType::string) != texts)
        return std::nullopt;
    GgufArrayReader reader(*this, *array, key.substr(0, dot));
    for (uint64_t i = 0; i < index; ++i)
        texts ? (void)reader.next_string() : (void)reader.next_number();
    return reader;
}

std::optional<double> Gguf::only_number(const std::string& key) const {
    const Value* value = find(key);
    if (value && std::holds_alternative<GgufString>(*value))
        fail("{}: metadata {} is the text \"{}\", a number is needed", name(), printable(key),
             printable(judged(key, *value).text));
    return number(key);
}

/// One number a layer.
std::optional<double> Gguf::number_of_list(const std::string& key, const GgufArray& array) const {
    if (array.type == GgufValueType::string)
        fail("{}: metadata {} is an array of strings, a number is needed", name(), printable(key));
    if (array.count == 0 || array.count > kMostJudged)
        fail("{}: metadata {} is an array of {} numbers, a number is needed", name(),
             printable(key), array.count);
    GgufArrayReader reader(*this, array, key);
    const double first = reader.next_number();
    for (uint64_t i = 1; i < array.count; ++i)
        if (const double next = reader.next_number(); next != first)
            fail("{}: metadata {} is an array, a number is needed: its elements differ ({} and {})",
                 name(), printable(key), first, next);
    const Value* layers = find(text("general.architecture").value_or("") + ".block_count");
    const double* count = layers ? std::get_if<double>(layers) : nullptr;
    if (count && *count != static_cast<double>(array.count))
        fail("{}: metadata {} is an array of {}, but the model has {} layer{}", name(),
             printable(key), counted(array.count, "number"), *count, *count == 1 ? "" : "s");
    return first;
}

std::vector<std::pair<std::string, SourceValue>> Gguf::own_values() const {
    const std::string start = architecture() + ".";
    std::vector<std::pair<std::string, SourceValue>> own;
    for (const auto& [key, value] : metadata_)
        if (key.starts_with(start)) own.emplace_back(key, judged(key, value));
    std::ranges::sort(own, {}, &std::pair<std::string, SourceValue>::first);
    return own;
}

SourceValue Gguf::judged(const std::string& key, const Value& value) const {
    if (const auto* number = std::get_if<double>(&value)) return SourceValue::of(*number);
    if (const auto* flag = std::get_if<bool>(&value)) return SourceValue::of(*flag ? 1.0 : 0.0);
    if (const auto* string = std::get_if<GgufString>(&value)) {
        std::string text(std::min(string->length, kLongestJudged), '\0');
        file_.read(string->offset, text.data(), text.size());
        return SourceValue::of(std::move(text));
    }
    const auto& array = std::get<GgufArray>(value);
    SourceValue list;
    list.kind = SourceValue::Kind::list;
    list.count = array.count;
    if (array.count > kMostJudged) return list;
    GgufArrayReader reader(*this, array, key);
    for (uint64_t i = 0; i < array.count; ++i)
        list.elements.push_back(array.type == GgufValueType::string
                                    ? SourceValue::of(std::string(reader.next_string()))
                                    : SourceValue::of(reader.next_number()));
    return list;
}

std::optional<int64_t> Gguf::trained_context() const {
    const Value* found = find(architecture() + ".context_length");
    const double* length = found ? std::get_if<double>(found) : nullptr;
    if (!length || !(*length >= 1 && *length <= kLongestContext) || *length != std::floor(*length))
        return std::nullopt;
    return static_cast<int64_t>(*length);
}

std::vector<std::string> Gguf::keys() const {
    std::vector<std::string> all;
    for (const auto& [key, value] : metadata_) all.push_back(key);
    std::ranges::sort(all);
    return all;
}

std::optional<bool> Gguf::flag(const std::string& key) const {
    const Value* value = find(key);
    if (!value) return std::nullopt;
    if (const auto* flag = std::get_if<bool>(value)) return *flag;
    fail("{}: metadata {} is not a bool", name(), printable(key));
}

std::optional<std::string> Gguf::text(const std::string& key) const {
    const Value* value = find(key);
    if (!value) {
        auto reader = element_of_list(key, true);
        return reader ? std::optional(std::string(reader->next_string())) : std::nullopt;
    }
    const auto* string = std::get_if<GgufString>(value);
    if (!string) fail("{}: metadata {} is not a string", name(), printable(key));
    if (string->length > kLongestText)
        fail("{}: metadata {} is {} bytes long, more than the {} that can be read", name(),
             printable(key), string->length, kLongestText);
    std::string text(string->length, '\0');
    file_.read(string->offset, text.data(), text.size());
    return text;
}

std::optional<GgufArray> Gguf::array(const std::string& key) const {
    const Value* value = find(key);
    if (!value) return std::nullopt;
    if (const auto* array = std::get_if<GgufArray>(value)) return *array;
    fail("{}: metadata {} is not an array", name(), printable(key));
}

GgufArrayReader::GgufArrayReader(const Gguf& gguf, const GgufArray& array, std::string key)
    : gguf_(&gguf), array_(array), key_(std::move(key)), scanner_(gguf.file(), array.offset) {}

void GgufArrayReader::advance() {
    if (next_ == array_.count)
        fail("{}: metadata {} has only {}", gguf_->name(), printable(key_),
             counted(array_.count, "element"));
    ++next_;
}

std::string_view GgufArrayReader::next_string() {
    if (array_.type != GgufValueType::string)
        fail("{}: metadata {} is not an array of strings", gguf_->name(), printable(key_));
    advance();
    const auto length = scanner_.get<uint64_t>();
    if (length > kLongestElement)
        fail("{}: metadata {}: element {} is {} bytes long, more than the {} that can be read",
             gguf_->name(), printable(key_), next_ - 1, length, kLongestElement);
    string_.resize(length);
    scanner_.read(string_.data(), string_.size());
    return string_;
}

double GgufArrayReader::next_number() {
    if (array_.type == GgufValueType::string)
        fail("{}: metadata {} is not an array of numbers", gguf_->name(), printable(key_));
    advance();
    return read_number(scanner_, array_.type);
}

}  // namespace llmsql
