#include "tools/slirpvde/options.h"

#include <fmt/format.h>
#include <getopt.h>
#include <sys/socket.h>

#include <array>
#include <optional>

#include "netstack/base/check.h"
#include "netstack/base/error.h"
#include "netstack/base/fd.h"
#include "tools/lan/face.h"

namespace tools {

using netstack::Error;
using netstack::GatewayNetwork;
using netstack::HostForward;
using netstack::IpAddress;

const char* const kSlirpVdeUsage =
    "Usage: slirpvde [OPTION]... [DIR]\n"
    "A gateway between a VDE switch and this machine's network, without root.\n\n"
    "  -s, --sock=DIR         the switch's directory (also --socket, --vdesock, --unix); - is "
    "stdin\n"
    "                         and stdout\n"
    "  -P, --port=N           port of the switch to ask for\n"
    "  -m, --mode=MODE        octal mode of our socket (also --mod), default 0700\n"
    "  -g, --group=GROUP      group of our socket\n"
    "  -d, --daemon           go to the background when it works\n"
    "  -p, --pidfile=FILE     write the process number there\n"
    "  -H, --host=ADDR[/LEN]  the gateway's address and network, default 10.0.2.2/24; with host\n"
    "                         part 0 the network alone (also -n, --network)\n"
    "  -N, --dns=ADDR         the nameserver's address, default host 3: in the network it stands\n"
    "                         for this machine's nameserver, else leases name it\n"
    "  -D, --dhcp[=ADDR]      lease addresses, from host 15 or ADDR on\n"
    "  -L PORT:ADDR:PORT      forward a TCP port of this machine to one of a guest\n"
    "  -U PORT:ADDR:PORT      the same for UDP\n"
    "  -X ADDR[:N[.S]]        forward the first free X display of this machine to a guest's\n"
    "  -q, --quiet            say nothing when all is well\n"
    "  -h, --help             this text\n\n"
    "Refused: -x PORT:PATH and -t DIR, because this gateway has neither UNIX redirections nor "
    "TFTP.\n";

namespace {

constexpr uint32_t kSwitchPortMax = (1U << 24U) - 1;
constexpr uint32_t kNetPortMax = 65'535;
constexpr uint32_t kPrefixBitsDefault = 24;
constexpr uint16_t kX11Port = 6000;        // of display 0
constexpr uint32_t kX11DisplayMax = 1000;  // more than any machine has

constexpr std::array kLongOptions = {option{"sock", required_argument, nullptr, 's'},
                                     option{"socket", required_argument, nullptr, 's'},
                                     option{"vdesock", required_argument, nullptr, 's'},
                                     option{"unix", required_argument, nullptr, 's'},
                                     option{"port", required_argument, nullptr, 'P'},
                                     option{"mode", required_argument, nullptr, 'm'},
                                     option{"mod", required_argument, nullptr, 'm'},
                                     option{"group", required_argument, nullptr, 'g'},
                                     option{"daemon", no_argument, nullptr, 'd'},
                                     option{"pidfile", required_argument, nullptr, 'p'},
                                     option{"host", required_argument, nullptr, 'H'},
                                     option{"network", required_argument, nullptr, 'n'},
                                     option{"dns", required_argument, nullptr, 'N'},
                                     option{"dhcp", optional_argument, nullptr, 'D'},
                                     option{"tftp", required_argument, nullptr, 't'},
                                     option{"quiet", no_argument, nullptr, 'q'},
                                     option{"help", no_argument, nullptr, 'h'},
                                     option{nullptr, 0, nullptr, 0}};
constexpr const char* kShortOptions = ":s:P:m:g:dp:H:n:N:D::L:U:X:x:t:qh";

Error usage_error(const std::string& what) {
  return {kFaceUsageStatus,
          fmt::format("cannot understand the command line: {}; `slirpvde --help` shows what there "
                      "is",
                      what)};
}

IpAddress address_of(std::string_view text, std::string_view option) {
  const auto address = IpAddress::parse(text);
  if (address && !address->v6) return *address;
  throw Error(kFaceUsageStatus, fmt::format("cannot use {} \"{}\": it is no IPv4 address; write "
                                            "for example 10.0.2.2",
                                            option, text));
}

uint16_t net_port_of(std::string_view text, std::string_view option) {
  const uint32_t port = whole_number(text, kNetPortMax, option);
  if (port == 0) throw usage_error(fmt::format("{} names port 0", option));
  return static_cast<uint16_t>(port);
}

// "PORT:ADDR:PORT". Listens on all addresses of this machine, as slirpvde always has.
HostForward forward_of(std::string_view text, netstack::Protocol protocol,
                       std::string_view option) {
  const size_t first = text.find(':');
  const size_t second = first == std::string_view::npos ? first : text.find(':', first + 1);
  if (second == std::string_view::npos) {
    throw usage_error(fmt::format("{} {} is not PORT:ADDRESS:PORT", option, text));
  }
  HostForward forward;
  forward.protocol = protocol;
  forward.host_address = IpAddress::v4(0);
  forward.host_port = net_port_of(text.substr(0, first), option);
  forward.guest_address = address_of(text.substr(first + 1, second - first - 1), option);
  forward.guest_port = net_port_of(text.substr(second + 1), option);
  return forward;
}

bool port_is_free(uint16_t port) {
  const netstack::Fd probe(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int yes = 1;
  ::setsockopt(probe.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  sockaddr_storage address{};
  const socklen_t size = to_sockaddr(IpAddress::v4(0), port, address);
  return ::bind(probe.get(), reinterpret_cast<const sockaddr*>(&address), size) == 0;
}

// "ADDR[:DISPLAY[.SCREEN]]". A screen is part of what X itself says, not of the port.
HostForward x_display_of(std::string_view text, uint32_t host_display) {
  const size_t colon = text.find(':');
  uint32_t display = 0;
  if (colon != std::string_view::npos) {
    std::string_view number = text.substr(colon + 1);
    number = number.substr(0, number.find('.'));
    display = whole_number(number, kX11DisplayMax, "-X display");
  }
  HostForward forward;
  forward.host_address = IpAddress::v4(0);
  forward.host_port = static_cast<uint16_t>(kX11Port + host_display);
  forward.guest_address = address_of(text.substr(0, colon), "-X");
  forward.guest_port = static_cast<uint16_t>(kX11Port + display);
  return forward;
}

// What must wait until all options are known: addresses depend on the network.
struct Pending {
  std::optional<std::string> host;
  std::optional<IpAddress> dns;
  std::optional<IpAddress> first_lease;
  uint32_t x_display_next = 0;
};

void add_x_display(SlirpVdeOptions& options, Pending& pending) {
  while (pending.x_display_next <= kX11DisplayMax &&
         !port_is_free(static_cast<uint16_t>(kX11Port + pending.x_display_next))) {
    ++pending.x_display_next;
  }
  if (pending.x_display_next > kX11DisplayMax) {
    throw Error(kFaceFailureStatus, "cannot forward an X display: all of this machine are in use");
  }
  const uint32_t display = pending.x_display_next++;
  const HostForward forward = x_display_of(optarg, display);
  options.gateway.forwards.push_back(forward);
  options.said.push_back(fmt::format("X display :{} of this machine leads to {}:{}", display,
                                     to_string(forward.guest_address),
                                     forward.guest_port - kX11Port));
}

[[noreturn]] void refuse_unix_redirection() {
  throw Error(
      kFaceFailureStatus,
      fmt::format("cannot redirect {} to a UNIX socket: this gateway connects guests to TCP "
                  "and UDP ports; let `socat TCP-LISTEN:PORT,bind=127.0.0.1,fork "
                  "UNIX:PATH` serve it to the gateway's address",
                  optarg));
}

[[noreturn]] void refuse_tftp() {
  throw Error(kFaceFailureStatus,
              fmt::format("cannot serve {} by TFTP: this gateway has no TFTP server; run one on "
                          "the LAN, or let guests fetch by HTTP",
                          optarg));
}

void take_plug(int letter, FacePlug& plug) {
  switch (letter) {
    case 's':
      plug.where = given_path(optarg, "--sock");
      break;
    case 'P':
      plug.port_number = whole_number(optarg, kSwitchPortMax, "--port");
      break;
    case 'm':
      plug.mode = octal_mode(optarg);
      break;
    case 'g':
      plug.group = group_id(optarg);
      break;
    case 'd':
      plug.background = true;
      break;
    case 'p':
      plug.pid_file = given_path(optarg, "--pidfile");
      break;
    default:
      netstack::check(false, "getopt returns what it was given");
  }
}

void take(int letter, SlirpVdeOptions& options, Pending& pending) {
  switch (letter) {
    case 'H':
    case 'n':
      pending.host = optarg;
      break;
    case 'N':
      pending.dns = address_of(optarg, "--dns");
      break;
    case 'D':
      options.gateway.dhcp = true;
      if (optarg != nullptr) pending.first_lease = address_of(optarg, "--dhcp");
      break;
    case 'L':
      options.gateway.forwards.push_back(forward_of(optarg, netstack::Protocol::kTcp, "-L"));
      break;
    case 'U':
      options.gateway.forwards.push_back(forward_of(optarg, netstack::Protocol::kUdp, "-U"));
      break;
    case 'X':
      return add_x_display(options, pending);
    case 'x':
      refuse_unix_redirection();
    case 't':
      refuse_tftp();
    case 'q':
      options.quiet = true;
      break;
    case 'h':
      options.help = true;
      break;
    default:
      take_plug(letter, options.plug);
  }
}

// "ADDR[/LEN]": the gateway's address, or with host part 0 the network alone.
void set_network(std::string_view text, GatewayNetwork& network) {
  const size_t slash = text.find('/');
  const IpAddress address = address_of(text.substr(0, slash), "--host");
  const uint32_t bits = slash == std::string_view::npos
                            ? kPrefixBitsDefault
                            : whole_number(text.substr(slash + 1), 32, "--host prefix length");
  if (bits < 8 || bits > 27 || address.is_loopback() || address.is_multicast()) {
    throw Error(kFaceUsageStatus, fmt::format("cannot use --host {}: a guests' network is a "
                                              "unicast one of /8 to /27, as in 10.0.2.2/24",
                                              text));
  }
  network.prefix_bits = static_cast<uint8_t>(bits);
  network.network = IpAddress::v4(address.v4_bits() & network.netmask());
  if (const uint32_t number = address.v4_bits() & ~network.netmask(); number != 0) {
    network.gateway_number = number;
  }
}

void settle(const Pending& pending, netstack::GatewayConfig& gateway) {
  GatewayNetwork& network = gateway.network;
  if (pending.host) set_network(*pending.host, network);
  if (pending.dns && network.contains(*pending.dns)) {
    network.nameserver_number = pending.dns->v4_bits() & ~network.netmask();
  } else {
    network.nameserver_elsewhere = pending.dns;
    if (pending.dns) gateway.names.domain.clear();  // that one knows no names of this LAN
  }
  if (pending.first_lease) {
    if (!network.contains(*pending.first_lease)) {
      throw usage_error(fmt::format("--dhcp={} is not in the network of --host",
                                    to_string(*pending.first_lease)));
    }
    network.first_lease_number = pending.first_lease->v4_bits() & ~network.netmask();
  }
  if (const std::string wrong = network.wrong_numbers(gateway.dhcp); !wrong.empty()) {
    throw Error(kFaceUsageStatus,
                fmt::format("cannot use these addresses: {}; choose others with --host, --dns or "
                            "--dhcp=ADDR",
                            wrong));
  }
}

}  // namespace

SlirpVdeOptions parse_slirpvde_options(int argc, char** argv) {
  SlirpVdeOptions options;
  options.gateway.dhcp = false;
  options.gateway.ipv6 = false;  // as ever: nobody on the LAN expects a router's announcements
  Pending pending;
  optind = 0;
  opterr = 0;
  for (;;) {
    const int letter = ::getopt_long_only(argc, argv, kShortOptions, kLongOptions.data(), nullptr);
    if (letter < 0) break;
    if (letter == '?') throw usage_error(fmt::format("there is no option {}", stopped_at(argv)));
    if (letter == ':') throw usage_error(fmt::format("{} needs a value", stopped_at(argv)));
    take(letter, options, pending);
  }
  if (options.help) return options;
  if (argc - optind > 1) throw usage_error("more than one switch is named");
  if (argc - optind == 1) options.plug.where = argv[optind];
  settle(pending, options.gateway);
  return options;
}

}  // namespace tools
