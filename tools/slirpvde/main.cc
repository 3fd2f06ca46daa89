// slirpvde: the gateway as a plug of a VDE switch, with the command line of VDE's own tool.
#include <fmt/format.h>

#include "netstack/gateway/gateway.h"
#include "tools/lan/standard_descriptors.h"
#include "tools/sandbox/sandbox.h"
#include "tools/slirpvde/options.h"

namespace {

using netstack::Log;
using netstack::Loop;
using netstack::Port;
using netstack::PortHost;

std::string summary(const netstack::GatewayConfig& config) {
  const netstack::GatewayNetwork& network = config.network;
  return fmt::format(
      "gateway {}/{}, nameserver {}, {}", to_string(network.gateway()), network.prefix_bits,
      to_string(network.nameserver()),
      config.dhcp ? fmt::format("leases from {}", to_string(network.first_lease())) : "no DHCP");
}

tools::SandboxPlan plan_of(const tools::SlirpVdeOptions& options) {
  tools::SandboxPlan plan;
  plan.internet = true;
  tools::add_host_files(plan, options.gateway.resolv_conf);
  return plan;
}

int serve(tools::FaceLog& log, const tools::SlirpVdeOptions& options) {
  const auto gateway = [&](Loop& loop, PortHost&, Log& to) -> std::unique_ptr<Port> {
    auto port = std::make_unique<netstack::Gateway>(loop, options.gateway, to);
    if (options.quiet) return port;
    to.line(summary(options.gateway));
    for (const std::string& line : options.said) to.line(line);
    return port;
  };
  return tools::run_face(log, "slirpvde:", options.plug, gateway, plan_of(options));
}

}  // namespace

int main(int argc, char** argv) {
  return tools::face_main("slirpvde", [&](tools::FaceLog& log) {
    const tools::SlirpVdeOptions options = tools::parse_slirpvde_options(argc, argv);
    if (!options.help) return serve(log, options);
    tools::write_out(tools::kSlirpVdeUsage);
    return tools::kFaceUsageStatus;
  });
}
