#include "netstack/config/host_forward.h"

#include <fmt/format.h>

#include <charconv>
#include <optional>

#include "netstack/base/error.h"

namespace netstack {

namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

// What is left to read of a forward.
struct Cursor {
  std::string_view rest;

  bool take(char c) {
    if (!rest.starts_with(c)) return false;
    rest.remove_prefix(1);
    return true;
  }
  std::optional<uint16_t> take_port() {
    uint16_t port = 0;
    const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), port);
    if (error != std::errc{}) return std::nullopt;
    rest.remove_prefix(static_cast<size_t>(end - rest.data()));
    return port;
  }
  // "[IPV6]:", "IPV4:" or ":". Nothing: no address there, or no colon behind it. An empty text:
  // the address was left out.
  std::optional<std::string_view> take_address() {
    if (take('[')) {
      const size_t end = rest.find("]:");
      if (end == std::string_view::npos) return std::nullopt;
      const std::string_view address = rest.substr(0, end);
      rest.remove_prefix(end + 2);
      return address.find(':') == std::string_view::npos ? std::nullopt : std::optional(address);
    }
    const size_t end = rest.find(':');
    if (end == std::string_view::npos) return std::nullopt;
    const std::string_view address = rest.substr(0, end);
    rest.remove_prefix(end + 1);
    return address;
  }
  // The next is "DIGITS-".
  bool at_range_end() const {
    size_t at = 0;
    while (at < rest.size() && is_digit(rest[at])) ++at;
    return at > 0 && at < rest.size() && rest[at] == '-';
  }
};

class Reader {
 public:
  explicit Reader(std::string_view text) : text_(text) {}

  HostForward read() {
    const size_t colon = text_.find(':');
    if (colon == std::string_view::npos)
      throw refuse("it is not PROTOCOL:[HOST]:PORT-[GUEST]:PORT");
    const std::string_view protocol = text_.substr(0, colon);
    const std::string_view rest = text_.substr(colon + 1);
    if (protocol == "unix") {
      read_unix(rest);
    } else if (protocol == "tcp" || protocol == "udp") {
      forward_.protocol = protocol == "udp" ? Protocol::kUdp : Protocol::kTcp;
      read_ports(rest);
    } else {
      throw refuse("the protocol is neither tcp, udp nor unix");
    }
    return forward_;
  }

 private:
  Error refuse(std::string_view why) const {
    return {EX_USAGE, fmt::format("cannot forward {}: {}; write for example "
                                  "tcp:127.0.0.1:2222-:22, tcp:[::1]:8000-8010-:8000-8010 or "
                                  "unix:/tmp/ssh-:22",
                                  text_, why)};
  }

  // The guest's side has no '-', so the last one ends the path.
  void read_unix(std::string_view rest) {
    const size_t dash = rest.rfind('-');
    if (dash == std::string_view::npos) throw refuse("it is not unix:PATH-[GUEST]:PORT");
    forward_.path = rest.substr(0, dash);
    if (!forward_.path.starts_with('/')) throw refuse("the path is not absolute");
    if (forward_.path.size() > HostForward::kPathBytesMax) {
      throw refuse("the path is longer than 107 bytes");
    }
    Cursor cursor{rest.substr(dash + 1)};
    read_guest(cursor);
    if (!cursor.rest.empty()) throw refuse("the guest side is not [ADDRESS]:PORT");
  }

  void read_ports(std::string_view rest) {
    Cursor cursor{rest};
    if (const auto address = take_address(cursor, "host")) forward_.host_address = *address;
    const auto first = cursor.take_port();
    if (!first || !cursor.take('-')) throw refuse("the host side is not [ADDRESS]:PORT");
    forward_.host_port = *first;
    if (cursor.at_range_end()) {
      forward_.port_count = read_range(*first, cursor);
      cursor.take('-');
    }
    read_guest(cursor);
    if (cursor.take('-') && read_range(forward_.guest_port, cursor) != forward_.port_count) {
      throw refuse("the two ranges differ in length");
    }
    if (!cursor.rest.empty()) throw refuse("the guest side is not [ADDRESS]:PORT");
    if (forward_.guest_port + forward_.port_count - 1 > UINT16_MAX) {
      throw refuse("the guest's range ends above 65535");
    }
  }

  void read_guest(Cursor& cursor) {
    if (const auto address = take_address(cursor, "guest")) forward_.guest_address = *address;
    const auto port = cursor.take_port();
    if (!port || *port == 0) throw refuse("the guest side is not [ADDRESS]:PORT");
    forward_.guest_port = *port;
  }

  uint16_t read_range(uint16_t first, Cursor& cursor) {
    const auto last = cursor.take_port();
    if (first == 0 || !last || *last < first) throw refuse("a range is not FIRST-LAST");
    return static_cast<uint16_t>(*last - first + 1);
  }

  std::optional<IpAddress> take_address(Cursor& cursor, std::string_view side) {
    const auto text = cursor.take_address();
    if (text && text->empty()) return std::nullopt;
    const auto address = text ? IpAddress::parse(*text) : std::nullopt;
    const bool bracketed = text && text->find(':') != std::string_view::npos;
    if (!address || address->v6 != bracketed) {
      throw refuse(fmt::format("the {} side has no address like 127.0.0.1 or [::1]", side));
    }
    return address;
  }

  std::string_view text_;
  HostForward forward_;
};

std::string bracketed(const IpAddress& address) {
  return address.v6 ? fmt::format("[{}]", to_string(address)) : to_string(address);
}

std::string range_text(uint16_t first, uint16_t count) {
  return count == 1 ? std::to_string(first) : fmt::format("{}-{}", first, first + count - 1);
}

}  // namespace

HostForward HostForward::parse(std::string_view text) {
  return Reader(text).read();
}

std::string endpoint_text(const IpAddress& address, uint16_t port) {
  return fmt::format("{}:{}", bracketed(address), port);
}

std::string to_string(const HostForward& forward) {
  const std::string host = forward.is_unix()
                               ? "unix:" + forward.path
                               : fmt::format("{}:{}:{}", protocol_name(forward.protocol),
                                             bracketed(forward.host_address),
                                             range_text(forward.host_port, forward.port_count));
  return fmt::format("{}-{}:{}", host,
                     forward.guest_address == IpAddress{} ? "" : bracketed(forward.guest_address),
                     range_text(forward.guest_port, forward.port_count));
}

}  // namespace netstack
