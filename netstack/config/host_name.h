#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "netstack/wire/ip_address.h"

namespace netstack {

// One label of a host name as RFC 1123 §2.1 has it, in lower case: letters, digits, hyphens inside,
// and underscores, which are common. Nothing: anything else, or longer than 63 bytes.
std::optional<std::string> host_label(std::string_view text);

// The same for labels joined by dots. One trailing dot is taken off.
std::optional<std::string> domain_name(std::string_view text);

// The labels of a name on the wire (RFC 1035 §3.1) joined by dots; a final root label may be
// missing, as RFC 4702 §2.3.1 permits. Nothing: a label that is no host_label(), or bytes left
// over.
std::optional<std::string> wire_host_name(std::span<const uint8_t> wire);

// Whether `name` is `suffix` or ends in it behind a dot. Both in lower case.
bool is_within(std::string_view name, std::string_view suffix);

// "15.2.0.10.in-addr.arpa" (RFC 1035 §3.5) or 32 nibbles under "ip6.arpa" (RFC 3596 §2.5), in lower
// case. Nothing: another name, or part of an address only.
std::optional<IpAddress> address_of_reverse_name(std::string_view name);

}  // namespace netstack
