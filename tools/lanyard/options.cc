#include "tools/lanyard/options.h"

namespace tools {

void LanOptions::add_to(CLI::App& app) {
  app.add_option(
         "--net", net,
         "The guests' IPv4 network: gateway .2, DNS .3, leases from .15 (default 10.0.2.0/24)")
      ->type_name("CIDR");
  app.add_option(
         "--hostfwd", forwards,
         "Forward a host port into a guest, for example tcp:127.0.0.1:2222-:22; may be repeated")
      ->type_name("SPEC");
  app.add_option("--capture", capture,
                 "Write every frame to this pcap file, whole, as it enters the switch; - is stdout")
      ->type_name("FILE");
}

netstack::GatewayConfig LanOptions::gateway() const {
  netstack::GatewayConfig config;
  if (!net.empty()) config.network = netstack::GatewayNetwork::parse(net);
  for (const std::string& forward : forwards) {
    config.forwards.push_back(netstack::HostForward::parse(forward));
  }
  return config;
}

}  // namespace tools
