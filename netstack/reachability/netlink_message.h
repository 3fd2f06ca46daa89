#pragma once

#include <libmnl/libmnl.h>
#include <linux/netlink.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>

#include "netstack/wire/ip_address.h"

// One rtnetlink(7) request, and the attributes of one message of its answer.
namespace netstack {

constexpr size_t kRequestSizeMax = 256;
constexpr unsigned kAttributeCountMax = 128;

inline std::string printable(std::string text) {
  std::replace_if(
      text.begin(), text.end(), [](char c) { return c <= ' ' || c > '~' || c == '"'; }, '?');
  return text;
}

// A request under construction, zeroed and aligned for its header.
struct NetlinkRequest {
  alignas(nlmsghdr) std::array<char, kRequestSizeMax> bytes{};
  nlmsghdr* header = mnl_nlmsg_put_header(bytes.data());

  NetlinkRequest(uint16_t type, bool dump) {
    header->nlmsg_type = type;
    header->nlmsg_flags = static_cast<uint16_t>(NLM_F_REQUEST | (dump ? NLM_F_DUMP : 0));
  }
  template <typename Body>
  Body& body() {
    return *static_cast<Body*>(mnl_nlmsg_put_extra_header(header, sizeof(Body)));
  }
};

// The attributes of one message by type; unknown types and bad lengths are passed over.
struct NetlinkAttributes {
  std::array<const nlattr*, kAttributeCountMax> by_type{};

  NetlinkAttributes(const nlmsghdr& message, size_t body_size) {
    mnl_attr_parse(&message, static_cast<unsigned>(body_size), keep, this);
  }
  static int keep(const nlattr* attribute, void* self) {
    const uint16_t type = mnl_attr_get_type(attribute);
    if (type < kAttributeCountMax) static_cast<NetlinkAttributes*>(self)->by_type[type] = attribute;
    return MNL_CB_OK;
  }
  std::optional<IpAddress> address(unsigned type, int family) const {
    const nlattr* found = by_type[type];
    const size_t size = family == AF_INET6 ? 16 : 4;
    if (found == nullptr || mnl_attr_get_payload_len(found) != size) return std::nullopt;
    const auto* bytes = static_cast<const uint8_t*>(mnl_attr_get_payload(found));
    return family == AF_INET6 ? IpAddress::read_v6(bytes) : IpAddress::read_v4(bytes);
  }
  std::optional<uint32_t> number(unsigned type) const {
    const nlattr* found = by_type[type];
    if (found == nullptr || mnl_attr_get_payload_len(found) != sizeof(uint32_t)) return {};
    return mnl_attr_get_u32(found);
  }
  std::optional<uint32_t> nested(unsigned type, unsigned inner_type) const {
    const nlattr* found = by_type[type];
    if (found == nullptr) return std::nullopt;
    const auto* inner = static_cast<const nlattr*>(mnl_attr_get_payload(found));
    const auto* end = reinterpret_cast<const char*>(inner) + mnl_attr_get_payload_len(found);
    for (; mnl_attr_ok(inner, static_cast<int>(end - reinterpret_cast<const char*>(inner)));
         inner = mnl_attr_next(inner)) {
      if (mnl_attr_get_type(inner) == inner_type &&
          mnl_attr_get_payload_len(inner) == sizeof(uint32_t)) {
        return mnl_attr_get_u32(inner);
      }
    }
    return std::nullopt;
  }
  std::string text(unsigned type) const {  // without what cannot be printed
    const nlattr* found = by_type[type];
    if (found == nullptr) return {};
    const auto* chars = static_cast<const char*>(mnl_attr_get_payload(found));
    return printable({chars, ::strnlen(chars, mnl_attr_get_payload_len(found))});
  }
};

// Whether `address` is within network/prefix_bits.
inline bool covers(const IpAddress& network, unsigned prefix_bits, const IpAddress& address) {
  if (network.v6 != address.v6 || prefix_bits > address.bytes().size() * 8) return false;
  for (unsigned bit = 0; bit < prefix_bits; ++bit) {
    const unsigned differs = network.octets[bit / 8] ^ address.octets[bit / 8];
    if ((differs & (0x80U >> (bit % 8))) != 0) return false;
  }
  return true;
}

}  // namespace netstack
