// rtnetlink, in three questions: what would happen to a packet (RTM_GETROUTE for one address, and
// RTM_GETLINK for the link it would leave by), what links are there (RTM_GETLINK, RTM_GETADDR),
// and, once a packet would be refused, which route does so (an RTM_GETROUTE dump that the kernel
// filters by type). Rules and neighbours are asked for in route_surroundings.cc.
//
// The lookup is the kernel's own, with its rules, tables and metrics: reading the tables and
// deciding here would have to repeat policy routing and would sometimes be wrong. The dump only
// finds a name for what the lookup already said; a policy rule that refuses has no route to name.
//
// The socket blocks. The kernel answers within the system call that asks, so nothing is waited for
// in practice; kAnswerWait bounds it all the same, and an answer that came late is passed over by
// its sequence number.

#include "netstack/reachability/route_query.h"

#include <fmt/format.h>
#include <libmnl/libmnl.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "netstack/base/error.h"
#include "netstack/reachability/netlink_message.h"

namespace netstack {
namespace {

constexpr size_t kAnswerSizeMax = 64 * 1024;  // the kernel builds dumps in parts of at most 32 KiB
constexpr timeval kAnswerWait{1, 0};

std::string link_name(unsigned index) {
  std::array<char, IFNAMSIZ> name{};
  return ::if_indextoname(index, name.data()) != nullptr ? printable(name.data()) : std::string{};
}

constexpr unsigned short kGreOverIpv6 = 823;  // ARPHRD_IP6GRE, which <net/if_arp.h> lacks

// "sit0" and its like exist in each new namespace once their module is loaded.
bool is_tunnel(unsigned short type) {
  return type == ARPHRD_TUNNEL || type == ARPHRD_TUNNEL6 || type == ARPHRD_SIT ||
         type == ARPHRD_IPGRE || type == kGreOverIpv6;
}

LinkFact read_link(const nlmsghdr& message) {
  const auto& body = *static_cast<const ifinfomsg*>(mnl_nlmsg_get_payload(&message));
  const NetlinkAttributes attributes(message, sizeof body);
  LinkFact link;
  link.index = body.ifi_index;
  link.name = attributes.text(IFLA_IFNAME);
  link.loopback = (body.ifi_flags & IFF_LOOPBACK) != 0;
  link.up = (body.ifi_flags & IFF_UP) != 0;
  link.carrier = (body.ifi_flags & IFF_RUNNING) != 0;
  link.tunnel = is_tunnel(body.ifi_type);
  return link;
}

void read_address(const nlmsghdr& message, std::vector<LinkFact>& links) {
  const auto& body = *static_cast<const ifaddrmsg*>(mnl_nlmsg_get_payload(&message));
  if (body.ifa_family != AF_INET && body.ifa_family != AF_INET6) return;
  const NetlinkAttributes attributes(message, sizeof body);
  // On point-to-point links IFA_ADDRESS is the peer and IFA_LOCAL is ours.
  auto address = attributes.address(IFA_LOCAL, body.ifa_family);
  if (!address) address = attributes.address(IFA_ADDRESS, body.ifa_family);
  if (!address) return;
  for (LinkFact& link : links) {
    if (link.index != static_cast<int>(body.ifa_index)) continue;
    link.addresses.push_back({*address, body.ifa_prefixlen, body.ifa_scope >= RT_SCOPE_LINK});
  }
}

// Route types that refuse, what a lookup that meets them answers, and iproute2's word for them.
struct Refusal {
  unsigned char route_type;
  int errno_value;
  const char* word;
};
constexpr auto kRefusals = std::to_array<Refusal>({{RTN_UNREACHABLE, EHOSTUNREACH, "unreachable"},
                                                   {RTN_PROHIBIT, EACCES, "prohibit"},
                                                   {RTN_BLACKHOLE, EINVAL, "blackhole"},
                                                   {RTN_THROW, ENETUNREACH, "throw"}});

int errno_of_type(unsigned char route_type) {
  for (const Refusal& row : kRefusals) {
    if (row.route_type == route_type) return row.errno_value;
  }
  return 0;
}

RouteFact read_route(const nlmsghdr& message) {
  const auto& body = *static_cast<const rtmsg*>(mnl_nlmsg_get_payload(&message));
  const NetlinkAttributes attributes(message, sizeof body);
  RouteFact route;
  route.known = true;
  route.errno_value = errno_of_type(body.rtm_type);
  if (const auto index = attributes.number(RTA_OIF)) {
    route.link_index = static_cast<int>(*index);
    route.link = link_name(*index);
  }
  route.mtu = attributes.nested(RTA_METRICS, RTAX_MTU).value_or(0);
  route.router = attributes.address(RTA_GATEWAY, body.rtm_family);
  return route;
}

}  // namespace

RouteQuery::RouteQuery()
    : socket_(mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC), mnl_socket_close),
      buffer_(kAnswerSizeMax) {
  if (!socket_ || mnl_socket_bind(socket_.get(), 0, MNL_SOCKET_AUTOPID) != 0) {
    throw host_error(errno, "open an rtnetlink socket",
                     "allow socket(AF_NETLINK) in the sandbox or seccomp filter");
  }
  const int fd = mnl_socket_get_fd(socket_.get());
  if (::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &kAnswerWait, sizeof kAnswerWait) != 0) {
    throw host_error(errno, "bound the wait of an rtnetlink socket", "");
  }
  // Lets the kernel filter dumps. One that cannot (before 4.20) sends all and is filtered here.
  int on = 1;
  mnl_socket_setsockopt(socket_.get(), NETLINK_GET_STRICT_CHK, &on, sizeof on);
}

RouteQuery::~RouteQuery() = default;

// Sends the request and hands over each message of the answer. 0, or the errno the kernel answered
// with; nothing when it could not be asked.
std::optional<int> RouteQuery::exchange(nlmsghdr& request, const Handler& on_message) {
  request.nlmsg_seq = ++sequence_;
  const bool dump = (request.nlmsg_flags & NLM_F_DUMP) == NLM_F_DUMP;
  if (mnl_socket_sendto(socket_.get(), &request, request.nlmsg_len) < 0) return std::nullopt;
  for (;;) {
    const ssize_t size = mnl_socket_recvfrom(socket_.get(), buffer_.data(), buffer_.size());
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) return std::nullopt;
    const auto* message = reinterpret_cast<const nlmsghdr*>(buffer_.data());
    int left = static_cast<int>(size);
    for (; mnl_nlmsg_ok(message, left); message = mnl_nlmsg_next(message, &left)) {
      if (message->nlmsg_seq != sequence_) continue;
      if (message->nlmsg_type == NLMSG_DONE) return 0;
      if (message->nlmsg_type == NLMSG_ERROR) {
        return -static_cast<const nlmsgerr*>(mnl_nlmsg_get_payload(message))->error;
      }
      on_message(*message);
      if (!dump) return 0;
    }
  }
}

RouteFact RouteQuery::lookup(const IpAddress& destination, int link_index) {
  NetlinkRequest request(RTM_GETROUTE, false);
  auto& body = request.body<rtmsg>();
  body.rtm_family = static_cast<unsigned char>(destination.family());
  body.rtm_dst_len = static_cast<unsigned char>(destination.bytes().size() * 8);
  mnl_attr_put(request.header, RTA_DST, destination.bytes().size(), destination.bytes().data());
  if (link_index != 0) {
    mnl_attr_put_u32(request.header, RTA_OIF, static_cast<uint32_t>(link_index));
  }
  RouteFact route;
  const auto answer =
      exchange(*request.header, [&](const nlmsghdr& message) { route = read_route(message); });
  if (!answer) return {};
  route.known = true;
  if (*answer != 0) route.errno_value = *answer;
  if (route.errno_value != 0) {
    route.refusing_route = refusing_route(destination, route.errno_value);
    if (route.refusing_route.empty()) {
      route.refusing_rule = refusing_rule(destination, route.errno_value);
    }
  } else if (route.link_index != 0) {
    read_link_of(route);
  }
  return route;
}

void RouteQuery::read_link_of(RouteFact& route) {
  NetlinkRequest request(RTM_GETLINK, false);
  request.body<ifinfomsg>().ifi_index = route.link_index;
  exchange(*request.header, [&](const nlmsghdr& message) {
    const auto& body = *static_cast<const ifinfomsg*>(mnl_nlmsg_get_payload(&message));
    const NetlinkAttributes attributes(message, sizeof body);
    route.carrier = (body.ifi_flags & IFF_RUNNING) != 0;
    if (route.mtu == 0) route.mtu = attributes.number(IFLA_MTU).value_or(0);
  });
}

// The longest prefix of the type that gives `errno_value` and covers the destination.
std::string RouteQuery::refusing_route(const IpAddress& destination, int errno_value) {
  const auto* refusal = std::find_if(kRefusals.begin(), kRefusals.end(), [&](const Refusal& row) {
    return row.errno_value == errno_value;
  });
  if (refusal == kRefusals.end()) return {};
  const unsigned char type = refusal->route_type;
  NetlinkRequest request(RTM_GETROUTE, true);
  auto& wanted = request.body<rtmsg>();
  wanted.rtm_family = static_cast<unsigned char>(destination.family());
  wanted.rtm_type = type;
  int longest_bits = -1;
  std::string found;
  exchange(*request.header, [&](const nlmsghdr& message) {
    const auto& body = *static_cast<const rtmsg*>(mnl_nlmsg_get_payload(&message));
    if (body.rtm_type != type || body.rtm_family != destination.family()) return;
    IpAddress network;
    network.v6 = destination.v6;
    if (body.rtm_dst_len != 0) {
      const auto prefix = NetlinkAttributes(message, sizeof body).address(RTA_DST, body.rtm_family);
      if (!prefix) return;
      network = *prefix;
    }
    if (body.rtm_dst_len <= longest_bits || !covers(network, body.rtm_dst_len, destination)) return;
    longest_bits = body.rtm_dst_len;
    found = longest_bits == 0 ? std::string("default")
                              : fmt::format("{}/{}", to_string(network), longest_bits);
  });
  if (found.empty()) return {};
  return fmt::format("{} {}", refusal->word, found);
}

bool RouteQuery::links(std::vector<LinkFact>& out) {
  NetlinkRequest links(RTM_GETLINK, true);
  links.body<ifinfomsg>().ifi_family = AF_UNSPEC;
  const auto link_answer =
      exchange(*links.header, [&](const nlmsghdr& message) { out.push_back(read_link(message)); });
  if (link_answer != 0) return false;
  NetlinkRequest addresses(RTM_GETADDR, true);
  addresses.body<ifaddrmsg>().ifa_family = AF_UNSPEC;
  const auto address_answer =
      exchange(*addresses.header, [&](const nlmsghdr& message) { read_address(message, out); });
  return address_answer == 0;
}

}  // namespace netstack
