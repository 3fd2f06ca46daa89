#include "driver/user_network.h"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>

#include "netstack/base/number.h"

namespace driver {

namespace {

struct Unmet {
  std::string_view key;
  std::string_view reason;
};

// What QEMU's own network can and Lanyard's gateway does not.
constexpr std::array kUnmet = {
    Unmet{"tftp", "the gateway serves no files over TFTP"},
    Unmet{"tftp-server-name", "the gateway's leases name no boot server"},
    Unmet{"bootfile", "the gateway's leases name no boot file"},
    Unmet{"smb", "the gateway starts no SMB server"},
    Unmet{"smbserver", "the gateway starts no SMB server"},
    Unmet{"hostname", "the gateway's leases carry no host name"},
    Unmet{"dnssearch", "the gateway's leases carry no search list"},
    Unmet{"domainname", "the gateway's leases carry no domain name"},
    Unmet{"ipv6-net", "the gateway's IPv6 network is fec0::/64"},
    Unmet{"ipv6-prefix", "the gateway's IPv6 network is fec0::/64"},
    Unmet{"ipv6-prefixlen", "the gateway's IPv6 network is fec0::/64"},
    Unmet{"ipv6-host", "the gateway's IPv6 address is fec0::2"},
    Unmet{"ipv6-dns", "the gateway's IPv6 nameserver is fec0::3"},
};

constexpr auto kKnown = std::to_array<std::string_view>(
    {"type", "id", "model", "mac", "name", "net", "host", "dns", "dhcpstart", "ipv4", "ipv6",
     "restrict", "hostfwd", "guestfwd"});

std::optional<uint32_t> address(const std::string& text) {
  in_addr parsed{};
  if (::inet_aton(text.c_str(), &parsed) == 0) return std::nullopt;
  return ntohl(parsed.s_addr);
}

uint32_t mask_of(unsigned prefix_bits) {
  return prefix_bits == 0 ? 0 : ~0U << (32U - prefix_bits);
}

// Where no mask is given, QEMU goes by the first bits.
std::optional<unsigned> prefix_without_mask(uint32_t network) {
  if ((network & 0x80000000U) == 0) return 8;
  if ((network & 0xfff00000U) == 0xac100000U) return 12;
  if ((network & 0xc0000000U) == 0x80000000U) return 16;
  if ((network & 0xffff0000U) == 0xc0a80000U) return 16;
  if ((network & 0xffff0000U) == 0xc6120000U) return 15;
  return std::nullopt;
}

std::optional<unsigned> prefix_of_mask(const std::string& text) {
  if (const auto bits = netstack::parse_number<unsigned>(text)) {
    return *bits >= 4 && *bits <= 32 ? bits : std::nullopt;
  }
  const auto mask = address(text);
  for (unsigned bits = 4; mask && bits <= 32; ++bits) {
    if (*mask == mask_of(bits)) return bits;
  }
  return std::nullopt;
}

class Reader {
 public:
  explicit Reader(const OptionList& options) : options_(options) {}

  UserNetwork read() {
    look_for_unmet();
    read_network();
    read_host(result_.gateway, "host");
    read_host(result_.nameserver, "dns");
    read_host(result_.first_lease, "dhcpstart");
    read_families();
    result_.restricted = flag("restrict").value_or(false);
    for (const std::string& forward : options_.all("hostfwd")) read_forward(forward);
    for (const std::string& forward : options_.all("guestfwd")) read_guest_forward(forward);
    return std::move(result_);
  }

 private:
  void refuse(std::string reason) {
    if (result_.refusal.empty()) result_.refusal = std::move(reason);
  }

  void look_for_unmet() {
    for (const std::string& key : options_.keys()) {
      const auto unmet = std::find_if(kUnmet.begin(), kUnmet.end(),
                                      [&](const Unmet& row) { return row.key == key; });
      if (unmet != kUnmet.end()) {
        refuse(fmt::format("{}: {}", key, unmet->reason));
      } else if (std::find(kKnown.begin(), kKnown.end(), key) == kKnown.end()) {
        refuse(fmt::format("{}: not an option lanyard knows", key));
      }
    }
  }

  std::optional<bool> flag(std::string_view key) {
    bool valid = true;
    const auto value = options_.flag(key, valid);
    if (!valid) refuse(fmt::format("{}={}: neither on nor off", key, options_.get(key)));
    return value;
  }

  void read_network() {
    const std::string* text = options_.find("net");
    if (text == nullptr) return;
    const size_t slash = text->find('/');
    const auto net = address(text->substr(0, slash));
    const auto bits = !net                  ? std::nullopt
                      : slash == text->npos ? prefix_without_mask(*net)
                                            : prefix_of_mask(text->substr(slash + 1));
    if (!bits) return refuse(fmt::format("net={}: not a network of known size", *text));
    const uint32_t mask = mask_of(*bits);
    result_.own_numbers = true;
    result_.network = *net & mask;
    result_.prefix_bits = *bits;
    result_.gateway = result_.network | (0x0202U & ~mask);
    result_.nameserver = result_.network | (0x0203U & ~mask);
    result_.first_lease = result_.network | (0x020fU & ~mask);
  }

  void read_host(uint32_t& number, std::string_view key) {
    const std::string* text = options_.find(key);
    if (text == nullptr) return;
    const auto given = address(*text);
    if (!given) return refuse(fmt::format("{}={}: not an IPv4 address", key, *text));
    result_.own_numbers = true;
    number = *given;
  }

  // Naming one family as on turns the other off.
  void read_families() {
    const auto ipv4 = flag("ipv4");
    const auto ipv6 = flag("ipv6");
    result_.ipv4 = ipv4.value_or(!ipv6.value_or(false));
    result_.ipv6 = ipv6.value_or(!ipv4.value_or(false));
  }

  // [tcp|udp]:[HOST]:PORT-[GUEST]:PORT, or unix:PATH-[GUEST]:PORT
  void read_forward(const std::string& text) {
    const size_t protocol = text.find(':');
    const std::string name = text.substr(0, protocol);
    if (name == "unix") return result_.forwards.push_back(text);
    const size_t host_end = text.starts_with(name + ":[") ? text.find(']') : protocol + 1;
    const size_t port =
        std::min(protocol, host_end) == text.npos ? text.npos : text.find(':', host_end);
    if (port == text.npos) return refuse(fmt::format("hostfwd={}: not a forward", text));
    const std::string host = text.substr(protocol + 1, port - protocol - 1);
    result_.forwards.push_back(fmt::format("{}:{}{}", name.empty() ? "tcp" : name,
                                           host.empty() ? "0.0.0.0" : host, text.substr(port)));
  }

  // [tcp]:ADDRESS:PORT-TARGET, of which a character device by its name or kind is QEMU's own.
  void read_guest_forward(const std::string& text) {
    const size_t dash = text.find('-');
    const std::string target = dash == text.npos ? "" : text.substr(dash + 1);
    const bool known =
        target.starts_with("cmd:") || target.starts_with("tcp:") || target.starts_with("unix:");
    if (!known || (!target.starts_with("cmd:") && target.find(',') != target.npos)) {
      return refuse(
          fmt::format("guestfwd={}: the gateway leads to cmd:COMMAND, tcp:ADDRESS:PORT "
                      "and unix:PATH",
                      text));
    }
    result_.guest_forwards.push_back(text);
  }

  const OptionList& options_;
  UserNetwork result_;
};

}  // namespace

UserNetwork UserNetwork::read(const OptionList& options) {
  return Reader(options).read();
}

}  // namespace driver
