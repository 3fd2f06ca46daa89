#include "tools/lanyard/run_command.h"

#include <fmt/format.h>
#include <unistd.h>

#include <memory>
#include <optional>

#include "driver/guest.h"
#include "driver/parent_watch.h"
#include "driver/qemu_command.h"
#include "driver/terminal.h"
#include "driver/transport.h"
#include "netstack/base/error.h"
#include "netstack/gateway/gateway.h"
#include "netstack/loop/signal_watch.h"
#include "tools/lan/lan.h"
#include "tools/lanyard/options.h"

namespace tools {

namespace {

constexpr uint64_t kStartup_ns = netstack::kSecond_ns;  // a command that fails sooner never ran

struct RunOptions {
  std::string join;
  std::string mac;
  LanOptions lan;
};

void refuse_options_of_a_private_lan(const RunOptions& options) {
  if (options.join.empty()) return;
  if (options.lan.net.empty() && options.lan.forwards.empty() && options.lan.capture.empty())
    return;
  throw netstack::Error(
      EX_USAGE,
      "cannot use --net, --hostfwd or --capture with --lan: they belong to the LAN "
      "that is joined; give them to its `lanyard switch`");
}

// What to start, and its plug: into a LAN that runs elsewhere, or into one made here for this guest
// alone. The capture comes last, so that a command that cannot be run leaves no empty file.
driver::GuestCommand prepare(const RunOptions& options, const std::vector<std::string>& command,
                             Lan& lan, netstack::Log& log) {
  if (!options.join.empty()) {
    return driver::add_network_card(command, driver::plug_into_lan(options.join), options.mac);
  }
  const auto gateway = options.lan.gateway();
  driver::PrivatePlug plug = driver::plug_privately();
  auto guest = driver::add_network_card(command, std::move(plug.guest), options.mac);
  lan.add(std::make_unique<netstack::Gateway>(lan.loop(), gateway, log));
  lan.add_stream(std::move(plug.ours), "guest");
  options.lan.start_capture(lan, log);
  return guest;
}

int run_guest(const RunOptions& options, const std::vector<std::string>& guest_command) {
  refuse_options_of_a_private_lan(options);
  netstack::FdLog log(STDERR_FILENO, "lanyard");
  netstack::SystemClock clock;
  netstack::Loop loop(clock);
  const driver::Terminal terminal;
  std::optional<driver::Guest> guest;
  bool wanted = true;  // false once a signal or the parent's end has asked us to stop
  const auto end = [&] {
    wanted = false;
    if (guest) guest->end();
  };
  const netstack::SignalWatch signals(loop, netstack::kEndingSignals, [&](int) { end(); });
  const driver::ParentWatch parent(loop, end);

  Lan lan(loop, log);
  driver::GuestCommand command = prepare(options, guest_command, lan, log);
  int status = EX_OK;
  guest.emplace(loop, log, std::move(command), [&](int exit_status) {
    status = exit_status;
    loop.stop();
  });
  if (!wanted) guest->end();
  const uint64_t began_ns = clock.monotonic_ns();
  loop.run();
  if (wanted && status != EX_OK && clock.monotonic_ns() - began_ns < kStartup_ns) {
    log.line(
        fmt::format("cannot run the guest: {} ended at once with status {}; mend its options, "
                    "whose complaint stands "
                    "above this line",
                    guest_command.front(), status));
  }
  return status;
}

}  // namespace

void add_run_command(CLI::App& app, const std::vector<std::string>& guest_command, int& status) {
  auto options = std::make_shared<RunOptions>();
  CLI::App* command = app.add_subcommand(
      "run", "Run a QEMU command with a network card on a LAN: its own, with NAT, or --lan DIR");
  command->footer(
      "The QEMU command follows after --, as in: lanyard run -- qemu-system-x86_64 -m 512 "
      "disk.qcow2");
  command->add_option("--lan", options->join, "Join this LAN of `lanyard switch` instead")
      ->type_name("DIR");
  command
      ->add_option("--mac", options->mac, "The card's MAC address (default: 52:54:00 and random)")
      ->type_name("MAC");
  options->lan.add_to(*command);
  command->callback([options, &guest_command, &status] {
    if (guest_command.empty()) {
      throw netstack::Error(
          EX_USAGE,
          "cannot run a guest: no QEMU command is given; write it after --, as in "
          "`lanyard run -- qemu-system-x86_64 -m 512 disk.qcow2`");
    }
    status = run_guest(*options, guest_command);
  });
}

}  // namespace tools
