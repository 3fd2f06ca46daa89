#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "netstack/wire/ip_address.h"

namespace netstack {

// Record types, RFC 1035 §3.2.2 and RFC 3596 §2.1.
enum class DnsType : uint16_t { kA = 1, kAaaa = 28 };
constexpr uint16_t kDnsClassInternet = 1;

constexpr size_t kDnsHeadBytes = 12;
constexpr size_t kDnsLabelBytesMax = 63;     // RFC 1035 §2.3.4
constexpr size_t kDnsNameBytesMax = 255;     // of a name on the wire, length bytes included
constexpr size_t kDnsAddressesMax = 32;      // addresses kept of one response
constexpr unsigned kDnsRecordCountMax = 64;  // answers looked at in one response

// Response codes, RFC 1035 §4.1.1.
constexpr uint8_t kDnsNoError = 0;
constexpr uint8_t kDnsFormatError = 1;
constexpr uint8_t kDnsServerFailure = 2;
constexpr uint8_t kDnsNameError = 3;  // NXDOMAIN
constexpr uint8_t kDnsNotImplemented = 4;
constexpr uint8_t kDnsRefused = 5;

// A DNS message, RFC 1035 §4.1: header, the question, and the addresses among the answers.
struct Dns {
  uint16_t id = 0;
  bool response = false;
  bool truncated = false;
  uint8_t rcode = kDnsNoError;
  std::string question{};              // "example.com", "." for the root; odd bytes as \DDD (§5.1)
  uint16_t question_type = 0;          // a DnsType, or any other
  std::vector<IpAddress> addresses{};  // of A and AAAA answers, whichever name they belong to
};

// A recursive query for one name. Nothing: an empty or overlong label, or an overlong name. One
// trailing dot is allowed.
std::optional<std::vector<uint8_t>> make_dns_query(std::string_view name, DnsType type,
                                                   uint16_t id);

// Nothing: cut short, not exactly one question, a question's name that is overlong or compressed, a
// name or record that leaves the message. Of a truncated response what is whole is kept.
std::optional<Dns> parse_dns(std::span<const uint8_t> message);

// Appends the labels of `name` as they go on the wire, "." as the root. False: an empty or overlong
// label, or an overlong name; what has been appended then is of no use. Escapes are not read.
bool append_dns_name(std::string_view name, std::vector<uint8_t>& out);

// Header and question of a message, the first part of any answer to it. Nothing: cut short, not
// exactly one question, or a name that is overlong or compressed.
std::optional<std::span<const uint8_t>> dns_question(std::span<const uint8_t> message);

// Whether two messages ask the same: name (in either case), type and class. Both views come from
// dns_question().
bool same_dns_question(std::span<const uint8_t> one, std::span<const uint8_t> other);

// An answer without records: the question of `query`, its id, and a response code. `truncated` says
// that there is more by TCP (RFC 7766). Without a question that can be read, the header alone.
// `query` holds at least kDnsHeadBytes.
std::vector<uint8_t> make_dns_refusal(std::span<const uint8_t> query, uint8_t rcode,
                                      bool truncated = false);

std::string_view dns_rcode_name(uint8_t rcode);  // "NXDOMAIN"; "an unknown code" beyond the table

}  // namespace netstack
