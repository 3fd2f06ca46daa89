#include "tools/lanyard/plug_command.h"

#include <fmt/format.h>
#include <unistd.h>

#include <memory>
#include <string>

#include "netstack/base/error.h"
#include "netstack/base/log.h"
#include "netstack/port/packet_port.h"
#include "netstack/port/tap_port.h"
#include "netstack/vde/vde_client.h"
#include "tools/lan/plug_session.h"
#include "tools/lanyard/given_word.h"
#include "tools/lanyard/lock.h"

namespace tools {

namespace {

using netstack::Log;
using netstack::Loop;
using netstack::Port;
using netstack::PortHost;

struct PlugOptions {
  std::string packet;
  std::string tap;
  std::string directory;
  LockOptions lock;
};

int run_plug(const PlugOptions& options) {
  if (options.packet.empty() == options.tap.empty()) {
    throw netstack::Error(EX_USAGE,
                          "cannot plug in: give either --packet INTERFACE or --tap INTERFACE");
  }
  netstack::FdLog log(STDERR_FILENO, "lanyard");
  const auto lan = [&](Loop& loop, PortHost& host, int give_up_fd) -> std::unique_ptr<Port> {
    netstack::VdePlugWish wish;
    wish.give_up_fd = give_up_fd;
    wish.where = netstack::VdeLocator::parse(options.directory);
    wish.description = netstack::describe_vde_client("lanyard plug");
    return netstack::open_vde_plug(loop, host, wish);
  };
  const auto ours = [&](Loop& loop, PortHost& host, Log&) -> std::unique_ptr<Port> {
    if (!options.tap.empty()) return netstack::open_tap(loop, host, options.tap);
    return netstack::open_packet(loop, host, options.packet);
  };
  return run_plug_session(log, lan, ours, [&] {
    log.line(fmt::format("{} is plugged into {}",
                         options.tap.empty() ? options.packet : options.tap, options.directory));
    lock_plug(options.lock, log);
  });
}

}  // namespace

void add_plug_command(CLI::App& app, int& status) {
  auto options = std::make_shared<PlugOptions>();
  CLI::App* command = app.add_subcommand("plug", "Join an interface of this machine to a LAN");
  command->footer(
      "--packet needs CAP_NET_RAW and no /dev/net/tun: give it one end of a veth pair\n"
      "(ip link add a type veth peer name b; ip link set a up arp off) and the other end to a\n"
      "bridge or container. With `arp off` this machine does not answer on it in its own name.\n"
      "--tap needs /dev/net/tun, and CAP_NET_ADMIN or an interface made for you.");
  command->add_option("--packet", options->packet, "Join this interface, as it is")
      ->type_name("INTERFACE")
      ->check(refuse_empty);
  command->add_option("--tap", options->tap, "Join this tap interface, made if there is none")
      ->type_name("INTERFACE")
      ->check(refuse_empty);
  command->add_option("DIR", options->directory, "The LAN's directory; DIR[5] is port 5 of it")
      ->required()
      ->check(refuse_empty)
      ->type_name("");
  options->lock.add_to(*command);
  command->callback([options, &status] { status = run_plug(*options); });
}

}  // namespace tools
