#include "netstack/capture/pcapng_block.h"

#include <algorithm>
#include <cstring>

namespace netstack::pcapng {

namespace {

constexpr size_t kAlignBytes = 4;
constexpr char kReplacement = '?';

bool continues(std::string_view text, size_t at) {
  return at < text.size() && (static_cast<uint8_t>(text[at]) & 0xc0U) == 0x80U;
}

// The bytes of the UTF-8 sequence (RFC 3629 §4) at the start of `text`; 0: there is none.
size_t sequence_size(std::string_view text) {
  const auto lead = static_cast<uint8_t>(text[0]);
  if (lead < 0x80) return lead >= 0x20 && lead != 0x7f ? 1 : 0;
  const size_t size = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (lead < 0xc2 || lead > 0xf4) return 0;
  for (size_t at = 1; at < size; ++at) {
    if (!continues(text, at)) return 0;
  }
  const auto second = static_cast<uint8_t>(text[1]);
  const bool overlong = (lead == 0xe0 && second < 0xa0) || (lead == 0xf0 && second < 0x90);
  const bool surrogate = lead == 0xed && second >= 0xa0;
  const bool beyond = lead == 0xf4 && second >= 0x90;
  const bool control = lead == 0xc2 && second < 0xa0;
  return overlong || surrogate || beyond || control ? 0 : size;
}

}  // namespace

std::string option_text(std::string_view text) {
  std::string out;
  out.reserve(std::min(text.size(), kTextBytesMax));
  while (!text.empty()) {
    const size_t size = sequence_size(text);
    if (out.size() + std::max<size_t>(size, 1) > kTextBytesMax) break;
    if (size == 0) {
      out += kReplacement;
      text.remove_prefix(1);
    } else {
      out += text.substr(0, size);
      text.remove_prefix(size);
    }
  }
  return out;
}

Block::Block(std::vector<uint8_t>& out, uint32_t type) : out_(out), start_(out.size()) {
  number(type);
  number(uint32_t{0});  // end() knows the length
}

void Block::append(const void* bytes, size_t size) {
  const size_t at = out_.size();
  out_.resize(at + size);
  if (size > 0) std::memcpy(out_.data() + at, bytes, size);
}

void Block::pad() {
  out_.resize((out_.size() - start_ + kAlignBytes - 1) / kAlignBytes * kAlignBytes + start_);
}

void Block::data(std::span<const uint8_t> bytes) {
  append(bytes.data(), bytes.size());
  pad();
}

void Block::time(uint64_t wall_ns) {
  number(static_cast<uint32_t>(wall_ns >> 32U));
  number(static_cast<uint32_t>(wall_ns));
}

void Block::option_bytes(uint16_t code, const void* value, size_t size) {
  has_options_ = true;
  number(code);
  number(static_cast<uint16_t>(size));
  append(value, size);
  pad();
}

void Block::text(uint16_t code, std::string_view value) {
  const std::string sound = option_text(value);
  if (!sound.empty()) option_bytes(code, sound.data(), sound.size());
}

void Block::end() {
  if (has_options_) {
    number(kEndOfOptions);
    number(uint16_t{0});
  }
  const auto length = static_cast<uint32_t>(out_.size() - start_ + sizeof(uint32_t));
  number(length);
  std::memcpy(out_.data() + start_ + sizeof(uint32_t), &length, sizeof length);
}

}  // namespace netstack::pcapng
