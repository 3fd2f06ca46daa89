#include "netstack/config/host_name.h"

#include <algorithm>

#include "netstack/base/number.h"
#include "netstack/wire/dns.h"

namespace netstack {

namespace {

constexpr size_t kNameTextBytesMax = kDnsNameBytesMax - 2;  // length bytes are dots, but for two
constexpr std::string_view kReverse4 = ".in-addr.arpa";
constexpr std::string_view kReverse6 = ".ip6.arpa";

char lower(char letter) {
  return letter >= 'A' && letter <= 'Z' ? static_cast<char>(letter - 'A' + 'a') : letter;
}

bool is_label_letter(char letter) {
  return (letter >= 'a' && letter <= 'z') || (letter >= '0' && letter <= '9') || letter == '-' ||
         letter == '_';
}

std::optional<IpAddress> reverse4(std::string_view name) {
  uint32_t bits = 0;
  for (unsigned at = 0; at < 4; ++at) {
    const std::string_view label = name.substr(0, name.find('.'));
    const auto octet = parse_number<uint8_t>(label);
    if (!octet) return std::nullopt;
    bits |= uint32_t{*octet} << (8 * at);
    const bool last = label.size() == name.size();
    if (last != (at == 3)) return std::nullopt;
    if (!last) name.remove_prefix(label.size() + 1);
  }
  return IpAddress::v4(bits);
}

std::optional<IpAddress> reverse6(std::string_view name) {
  constexpr size_t kNibbles = 32;
  if (name.size() != kNibbles * 2 - 1) return std::nullopt;
  IpAddress address;
  address.v6 = true;
  for (size_t at = 0; at < kNibbles; ++at) {
    const char letter = name[at * 2];
    if (at + 1 < kNibbles && name[at * 2 + 1] != '.') return std::nullopt;
    const bool digit = letter >= '0' && letter <= '9';
    if (!digit && (letter < 'a' || letter > 'f')) return std::nullopt;
    const auto nibble = static_cast<uint8_t>(digit ? letter - '0' : letter - 'a' + 10);
    const size_t octet = 15 - at / 2;
    address.octets[octet] |= static_cast<uint8_t>(at % 2 == 0 ? nibble : nibble << 4U);
  }
  return address;
}

}  // namespace

std::optional<std::string> host_label(std::string_view text) {
  if (text.empty() || text.size() > kDnsLabelBytesMax) return std::nullopt;
  std::string label(text);
  std::ranges::transform(label, label.begin(), lower);
  if (!std::ranges::all_of(label, is_label_letter)) return std::nullopt;
  if (label.front() == '-' || label.back() == '-') return std::nullopt;
  return label;
}

std::optional<std::string> domain_name(std::string_view text) {
  if (text.ends_with('.')) text.remove_suffix(1);
  if (text.size() > kNameTextBytesMax) return std::nullopt;
  std::string name;
  for (;;) {
    const std::string_view part = text.substr(0, text.find('.'));
    const auto label = host_label(part);
    if (!label) return std::nullopt;
    name += *label;
    if (part.size() == text.size()) return name;
    name += '.';
    text.remove_prefix(part.size() + 1);
  }
}

std::optional<std::string> wire_host_name(std::span<const uint8_t> wire) {
  std::string name;
  while (!wire.empty() && wire[0] != 0) {
    const size_t bytes = wire[0];
    if (bytes >= wire.size() || name.size() + bytes > kNameTextBytesMax) return std::nullopt;
    const auto label = host_label({reinterpret_cast<const char*>(&wire[1]), bytes});
    if (!label) return std::nullopt;
    if (!name.empty()) name += '.';
    name += *label;
    wire = wire.subspan(bytes + 1);
  }
  if (name.empty() || wire.size() > 1) return std::nullopt;
  return name;
}

bool is_within(std::string_view name, std::string_view suffix) {
  if (suffix == ".") return true;
  if (!name.ends_with(suffix) || suffix.empty()) return false;
  return name.size() == suffix.size() || name[name.size() - suffix.size() - 1] == '.';
}

std::optional<IpAddress> address_of_reverse_name(std::string_view name) {
  if (name.ends_with(kReverse4)) return reverse4(name.substr(0, name.size() - kReverse4.size()));
  if (name.ends_with(kReverse6)) return reverse6(name.substr(0, name.size() - kReverse6.size()));
  return std::nullopt;
}

}  // namespace netstack
