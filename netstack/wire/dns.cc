// Names are the hard part of DNS: a label may be a pointer to an earlier place in the message (RFC
// 1035 §4.1.4), so a hostile one can point in circles. No pointer is followed here at all. The one
// name we read is the question's, and as the first name of a message it has nothing to point to;
// the names of answers are only skipped, and a pointer is where skipping ends. So which of the
// answers belongs to which name stays unknown, and every address counts. Refused alternative: the
// C library's ns_initparse and dn_expand, which follow pointers and are not part of every one.
#include "netstack/wire/dns.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "netstack/base/bytes.h"
#include "netstack/base/check.h"

namespace netstack {

namespace {

constexpr uint16_t kFlagResponse = 0x8000;
constexpr uint16_t kFlagTruncated = 0x0200;
constexpr uint16_t kFlagRecursionDesired = 0x0100;
constexpr uint16_t kFlagRecursionAvailable = 0x0080;
constexpr uint16_t kFlagsEchoed = 0x7910;  // opcode, RD, CD: RFC 1035 §4.1.1, RFC 4035 §3.2.2
constexpr uint16_t kRcodeMask = 0x000f;
constexpr uint8_t kPointerBits = 0xc0;    // §4.1.4
constexpr size_t kQuestionTailBytes = 4;  // type, class
constexpr size_t kRecordTailBytes = 10;   // type, class, ttl, data length

void append_escaped(std::string& text, uint8_t byte) {
  if (byte > 0x20 && byte < 0x7f && byte != '.' && byte != '\\') {
    text += static_cast<char>(byte);
  } else {
    text += fmt::format("\\{:03d}", byte);
  }
}

// Where the name at `at` ends, without following pointers. Nothing: it leaves the message.
std::optional<size_t> skip_name(std::span<const uint8_t> message, size_t at) {
  while (at < message.size()) {
    const uint8_t length = message[at];
    if ((length & kPointerBits) == kPointerBits) {
      return at + 2 <= message.size() ? std::optional(at + 2) : std::nullopt;
    }
    if (length > kDnsLabelBytesMax) return std::nullopt;
    at += size_t{1} + length;
    if (length == 0) return at;
  }
  return std::nullopt;
}

// The same for a name that must not be compressed and has a limited length, as in a question.
std::optional<size_t> skip_plain_name(std::span<const uint8_t> message, size_t at) {
  const size_t start = at;
  while (at < message.size() && message[at] <= kDnsLabelBytesMax) {
    const uint8_t length = message[at];
    at += size_t{1} + length;
    if (at - start > kDnsNameBytesMax) return std::nullopt;
    if (length == 0) return at;
  }
  return std::nullopt;
}

// Reads the name at `at` and moves `at` behind it. Nothing: it leaves the message, is too long, or
// has a pointer.
std::optional<std::string> read_name(std::span<const uint8_t> message, size_t& at) {
  const size_t start = at;
  std::string name;
  while (at < message.size()) {
    const uint8_t length = message[at];
    if (length > kDnsLabelBytesMax || message.size() - at <= length) return std::nullopt;
    const std::span<const uint8_t> label = message.subspan(at + 1, length);
    at += size_t{1} + length;
    if (at - start > kDnsNameBytesMax) return std::nullopt;
    if (label.empty()) return name.empty() ? "." : name;
    if (!name.empty()) name += '.';
    for (const uint8_t byte : label) append_escaped(name, byte);
  }
  return std::nullopt;
}

void take_address(uint16_t type, std::span<const uint8_t> data, std::vector<IpAddress>& to) {
  if (to.size() == kDnsAddressesMax) return;
  if (type == static_cast<uint16_t>(DnsType::kA) && data.size() == 4) {
    to.push_back(IpAddress::read_v4(data.data()));
  } else if (type == static_cast<uint16_t>(DnsType::kAaaa) && data.size() == 16) {
    to.push_back(IpAddress::read_v6(data.data()));
  }
}

// Reads the record at `at` and returns where the next begins. Nothing: it leaves the message.
std::optional<size_t> read_record(std::span<const uint8_t> message, size_t at, Dns& dns) {
  const std::optional<size_t> tail = skip_name(message, at);
  if (!tail || message.size() - *tail < kRecordTailBytes) return std::nullopt;
  const uint16_t type = read_u16(&message[*tail]);
  const uint16_t record_class = read_u16(&message[*tail + 2]);
  const size_t data_bytes = read_u16(&message[*tail + 8]);
  const size_t data = *tail + kRecordTailBytes;
  if (message.size() - data < data_bytes) return std::nullopt;
  if (record_class == kDnsClassInternet) {
    take_address(type, message.subspan(data, data_bytes), dns.addresses);
  }
  return data + data_bytes;
}

}  // namespace

bool append_dns_name(std::string_view name, std::vector<uint8_t>& out) {
  const size_t start = out.size();
  if (name.ends_with('.')) name.remove_suffix(1);  // "." becomes empty: the root
  while (!name.empty()) {
    const std::string_view label = name.substr(0, name.find('.'));
    if (label.empty() || label.size() > kDnsLabelBytesMax) return false;
    out.push_back(static_cast<uint8_t>(label.size()));
    out.insert(out.end(), label.begin(), label.end());
    if (label.size() + 1 == name.size()) return false;  // a second trailing dot
    name.remove_prefix(std::min(label.size() + 1, name.size()));
  }
  out.push_back(0);
  return out.size() - start <= kDnsNameBytesMax;
}

std::optional<std::vector<uint8_t>> make_dns_query(std::string_view name, DnsType type,
                                                   uint16_t id) {
  if (name.empty()) return std::nullopt;
  std::vector<uint8_t> out(kDnsHeadBytes);
  write_u16(&out[0], id);
  write_u16(&out[2], kFlagRecursionDesired);
  write_u16(&out[4], 1);  // questions
  if (!append_dns_name(name, out)) return std::nullopt;
  out.resize(out.size() + kQuestionTailBytes);
  write_u16(&out[out.size() - 4], static_cast<uint16_t>(type));
  write_u16(&out[out.size() - 2], kDnsClassInternet);
  return out;
}

std::optional<Dns> parse_dns(std::span<const uint8_t> message) {
  if (message.size() < kDnsHeadBytes) return std::nullopt;
  const uint16_t flags = read_u16(&message[2]);
  Dns dns;
  dns.id = read_u16(&message[0]);
  dns.response = (flags & kFlagResponse) != 0;
  dns.truncated = (flags & kFlagTruncated) != 0;
  dns.rcode = static_cast<uint8_t>(flags & kRcodeMask);
  if (read_u16(&message[4]) != 1) return std::nullopt;

  size_t tail = kDnsHeadBytes;
  std::optional<std::string> question = read_name(message, tail);
  if (!question || message.size() - tail < kQuestionTailBytes) return std::nullopt;
  dns.question = std::move(*question);
  dns.question_type = read_u16(&message[tail]);

  std::optional<size_t> at = tail + kQuestionTailBytes;
  const unsigned record_count = std::min<unsigned>(read_u16(&message[6]), kDnsRecordCountMax);
  for (unsigned index = 0; index < record_count; ++index) {
    at = read_record(message, *at, dns);
    if (!at) return dns.truncated ? std::optional(dns) : std::nullopt;
  }
  return dns;
}

std::optional<std::span<const uint8_t>> dns_question(std::span<const uint8_t> message) {
  if (message.size() < kDnsHeadBytes || read_u16(&message[4]) != 1) return std::nullopt;
  const std::optional<size_t> tail = skip_plain_name(message, kDnsHeadBytes);
  if (!tail || message.size() - *tail < kQuestionTailBytes) return std::nullopt;
  return message.first(*tail + kQuestionTailBytes);
}

bool same_dns_question(std::span<const uint8_t> one, std::span<const uint8_t> other) {
  const auto lower = [](uint8_t byte) {  // length bytes are below 'A', so they stay what they are
    return byte >= 'A' && byte <= 'Z' ? static_cast<uint8_t>(byte + 0x20) : byte;
  };
  if (one.size() != other.size() || one.size() < kDnsHeadBytes + kQuestionTailBytes) return false;
  const size_t tail = one.size() - kQuestionTailBytes;
  return std::equal(one.begin() + kDnsHeadBytes, one.begin() + static_cast<ptrdiff_t>(tail),
                    other.begin() + kDnsHeadBytes,
                    [&](uint8_t a, uint8_t b) { return lower(a) == lower(b); }) &&
         std::equal(one.begin() + static_cast<ptrdiff_t>(tail), one.end(),
                    other.begin() + static_cast<ptrdiff_t>(tail));
}

std::vector<uint8_t> make_dns_refusal(std::span<const uint8_t> query, uint8_t rcode,
                                      bool truncated) {
  check(query.size() >= kDnsHeadBytes, "an answer has a header");
  const auto question = dns_question(query);
  const auto kept = question.value_or(query.first(kDnsHeadBytes));
  std::vector<uint8_t> out(kept.begin(), kept.end());
  const auto asked = static_cast<uint16_t>(read_u16(&query[2]) & kFlagsEchoed);
  write_u16(&out[2],
            static_cast<uint16_t>(asked | kFlagResponse | kFlagRecursionAvailable |
                                  (truncated ? kFlagTruncated : 0U) | (rcode & kRcodeMask)));
  write_u16(&out[4], question ? 1 : 0);
  std::fill(out.begin() + 6, out.begin() + kDnsHeadBytes, uint8_t{0});
  return out;
}

std::string_view dns_rcode_name(uint8_t rcode) {
  constexpr std::array<std::string_view, 6> kNames{"NOERROR",  "FORMERR", "SERVFAIL",
                                                   "NXDOMAIN", "NOTIMP",  "REFUSED"};
  return rcode < kNames.size() ? kNames[rcode] : "an unknown code";
}

}  // namespace netstack
