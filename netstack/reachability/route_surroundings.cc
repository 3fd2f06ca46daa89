// What stands around a route: the rule of policy routing that refuses (ip-rule(8)), and the
// neighbour that is the next hop.
//
// The route lookup has already said that a packet is refused, and with which errno. An
// "unreachable" rule answers ENETUNREACH, as if there were no route at all, so the rules are looked
// through: the first one in the kernel's order that refuses with this errno and certainly matches.
// A rule that asks for more than the destination (a mark, a port, an interface, a source) may not
// be the one, so it is not named.
#include <fmt/format.h>
#include <libmnl/libmnl.h>
#include <linux/fib_rules.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "netstack/reachability/netlink_message.h"
#include "netstack/reachability/route_query.h"

namespace netstack {
namespace {

struct RefusingAction {
  unsigned char action;
  int errno_value;
  const char* word;
};
constexpr auto kRefusingActions =
    std::to_array<RefusingAction>({{FR_ACT_UNREACHABLE, ENETUNREACH, "unreachable"},
                                   {FR_ACT_PROHIBIT, EACCES, "prohibit"},
                                   {FR_ACT_BLACKHOLE, EINVAL, "blackhole"}});

constexpr std::array kFurtherSelectors{FRA_IIFNAME,  FRA_OIFNAME,     FRA_FWMARK,      FRA_TUN_ID,
                                       FRA_IP_PROTO, FRA_SPORT_RANGE, FRA_DPORT_RANGE, FRA_SRC};

bool is_for_this_user(const NetlinkAttributes& attributes) {
  const nlattr* found = attributes.by_type[FRA_UID_RANGE];
  if (found == nullptr) return true;
  if (mnl_attr_get_payload_len(found) < sizeof(fib_rule_uid_range)) return false;
  fib_rule_uid_range range{};
  std::memcpy(&range, mnl_attr_get_payload(found), sizeof range);
  return range.start <= ::geteuid() && ::geteuid() <= range.end;
}

// The rule as `ip rule` prints it, if it certainly covers the destination and refuses so.
std::string read_refusing_rule(const nlmsghdr& message, const IpAddress& destination,
                               const RefusingAction& wanted) {
  const auto& body = *static_cast<const fib_rule_hdr*>(mnl_nlmsg_get_payload(&message));
  const NetlinkAttributes attributes(message, sizeof body);
  if (body.action != wanted.action || body.family != destination.family()) return {};
  if ((body.flags & FIB_RULE_INVERT) != 0 || body.tos != 0) return {};
  if (std::ranges::any_of(kFurtherSelectors,
                          [&](unsigned type) { return attributes.by_type[type] != nullptr; }) ||
      !is_for_this_user(attributes)) {
    return {};
  }
  std::string to = "from all";
  if (body.dst_len != 0) {
    const auto prefix = attributes.address(FRA_DST, body.family);
    if (!prefix || !covers(*prefix, body.dst_len, destination)) return {};
    to = fmt::format("to {}/{}", to_string(*prefix), body.dst_len);
  }
  return fmt::format("{}: {} {}", attributes.number(FRA_PRIORITY).value_or(0), to, wanted.word);
}

}  // namespace

std::string RouteQuery::refusing_rule(const IpAddress& destination, int errno_value) {
  const auto* wanted = std::ranges::find_if(
      kRefusingActions, [&](const RefusingAction& row) { return row.errno_value == errno_value; });
  if (wanted == kRefusingActions.end()) return {};
  NetlinkRequest request(RTM_GETRULE, true);
  request.body<fib_rule_hdr>().family = static_cast<unsigned char>(destination.family());
  std::string found;
  exchange(*request.header, [&](const nlmsghdr& message) {
    if (found.empty()) found = read_refusing_rule(message, destination, *wanted);
  });
  return found;
}

Neighbour RouteQuery::neighbour(const RouteFact& route, const IpAddress& destination) {
  if (route.link_index == 0) return Neighbour::kUnknown;
  const IpAddress& address = route.router.value_or(destination);
  NetlinkRequest request(RTM_GETNEIGH, false);
  auto& wanted = request.body<ndmsg>();
  wanted.ndm_family = static_cast<unsigned char>(address.family());
  wanted.ndm_ifindex = route.link_index;
  mnl_attr_put(request.header, NDA_DST, address.bytes().size(), address.bytes().data());
  Neighbour state = Neighbour::kUnknown;
  exchange(*request.header, [&](const nlmsghdr& message) {
    const auto& body = *static_cast<const ndmsg*>(mnl_nlmsg_get_payload(&message));
    constexpr unsigned kNeedsNoAnswer = NUD_PERMANENT | NUD_NOARP;
    constexpr unsigned kHasAnswered = NUD_REACHABLE | NUD_STALE | NUD_DELAY | NUD_PROBE;
    if ((body.ndm_state & NUD_FAILED) != 0) state = Neighbour::kDead;
    if ((body.ndm_state & NUD_INCOMPLETE) != 0) state = Neighbour::kAsked;
    if ((body.ndm_state & (kNeedsNoAnswer | kHasAnswered)) != 0) state = Neighbour::kAnswers;
  });
  return state;
}

}  // namespace netstack
