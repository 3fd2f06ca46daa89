#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "netstack/reachability/host_facts.h"

struct mnl_socket;
struct nlmsghdr;

namespace netstack {

// Asks the kernel for routes, links and addresses over rtnetlink(7). Needs no privilege; sees the
// network namespace of the thread that made it. Each question is answered within the call.
class RouteQuery {
 public:
  RouteQuery();  // throws Error when the kernel gives no rtnetlink socket
  ~RouteQuery();
  RouteQuery(const RouteQuery&) = delete;
  RouteQuery& operator=(const RouteQuery&) = delete;

  // Two round trips when there is a route: it, and its link. `link_index` 0: any link.
  RouteFact lookup(const IpAddress& destination, int link_index = 0);

  // The route's next hop, or the destination on the link itself.
  Neighbour neighbour(const RouteFact& route, const IpAddress& destination);

  // Every link with its addresses. False when the kernel did not answer in full.
  bool links(std::vector<LinkFact>& out);

 private:
  using Handler = std::function<void(const nlmsghdr&)>;
  std::optional<int> exchange(nlmsghdr& request, const Handler& on_message);
  void read_link_of(RouteFact& route);
  std::string refusing_route(const IpAddress& destination, int errno_value);
  std::string refusing_rule(const IpAddress& destination, int errno_value);

  std::unique_ptr<mnl_socket, int (*)(mnl_socket*)> socket_;
  std::vector<char> buffer_;
  unsigned sequence_ = 0;
};

}  // namespace netstack
