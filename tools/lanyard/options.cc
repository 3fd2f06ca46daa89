#include "tools/lanyard/options.h"

#include <memory>

#include "netstack/capture/capture.h"

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
  app.add_option(
         "--capture", capture,
         "Write every frame to this file, whole, as it enters the switch: *.pcapng has the "
         "ports' names and why something was unreachable, other names are pcap; - is stdout")
      ->type_name("FILE")
      ->check([](const std::string& path) {
        return path.empty()
                   ? std::string("the capture's name is empty; give a file, or - for stdout")
                   : std::string();
      });
}

netstack::GatewayConfig LanOptions::gateway() const {
  netstack::GatewayConfig config;
  if (!net.empty()) config.network = netstack::GatewayNetwork::parse(net);
  for (const std::string& forward : forwards) {
    config.forwards.push_back(netstack::HostForward::parse(forward));
  }
  return config;
}

void LanOptions::start_capture(Lan& lan, netstack::Log& log) const {
  if (capture.empty()) return;
  lan.mirror_to(std::make_unique<netstack::Capture>(capture, lan.loop().clock(), log,
                                                    "lanyard " LANYARD_VERSION));
}

bool LanOptions::captures_to_stdout() const {
  return !capture.empty() && netstack::is_standard_output(capture);
}

}  // namespace tools
