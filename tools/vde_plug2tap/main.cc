// vde_plug2tap: a tap interface of this machine on a VDE switch, with the command line of VDE's own
// tool. Where there is no /dev/net/tun, a veth pair and a packet socket do the same work.
#include <fmt/format.h>
#include <sysexits.h>

#include <optional>

#include "netstack/base/error.h"
#include "netstack/port/packet_port.h"
#include "netstack/port/tap_port.h"
#include "tools/lan/standard_descriptors.h"
#include "tools/vde_plug2tap/options.h"
#include "tools/vde_plug2tap/veth_pair.h"

namespace {

using netstack::Log;
using netstack::Loop;
using netstack::Port;
using netstack::PortHost;

int plug_in(tools::FaceLog& log, const tools::Plug2TapOptions& options) {
  netstack::check_interface_name(options.tap);
  std::optional<tools::VethPair> pair;
  const auto ours = [&](Loop& loop, PortHost& host, Log& to) -> std::unique_ptr<Port> {
    const int refusal = netstack::probe_tap_device();
    if (refusal == 0) return netstack::open_tap(loop, host, options.tap);
    pair.emplace(options.tap);
    to.line(
        fmt::format("/dev/net/tun cannot be used ({}): {} is one end of a veth pair instead, "
                    "whose other end, {}, a packet socket joins",
                    netstack::errno_text(refusal), options.tap, pair->inner()));
    return netstack::open_packet(loop, host, pair->inner());
  };
  return tools::run_face(log, "vde_plug2tap:", options.plug, ours);
}

}  // namespace

int main(int argc, char** argv) {
  return tools::face_main("vde_plug2tap", [&](tools::FaceLog& log) {
    for (const int signal : {SIGHUP, SIGINT}) tools::heed_even_if_ignored(signal);
    const tools::Plug2TapOptions options = tools::parse_plug2tap_options(argc, argv);
    if (!options.help) return plug_in(log, options);
    tools::write_out(tools::kPlug2TapUsage);
    return tools::kFaceUsageStatus;
  });
}
