#include "tools/lanyard/switch_command.h"

#include <fmt/format.h>
#include <unistd.h>

#include <csignal>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "netstack/base/error.h"
#include "netstack/gateway/gateway.h"
#include "netstack/loop/signal_watch.h"
#include "tools/control/control_socket.h"
#include "tools/lan/lan.h"
#include "tools/lanyard/given_word.h"
#include "tools/lanyard/lock.h"
#include "tools/lanyard/options.h"

namespace tools {

namespace {

struct SwitchOptions {
  std::string directory;
  bool nat = false;
  std::vector<std::string> vhost_user;
  LanOptions lan;
  LockOptions lock;
};

// What guests reached for; nothing without a gateway. The LAN has gone when this returns.
std::optional<netstack::EgressBook> run_lan(const SwitchOptions& options,
                                            const netstack::GatewayConfig& gateway_config,
                                            const LockOptions& lock, netstack::Log& log) {
  netstack::SystemClock clock;
  netstack::Loop loop(clock);
  const netstack::SignalWatch signals(loop, netstack::kEndingSignals,
                                      [&loop](int) { loop.stop(); });
  Lan lan(loop, log);
  netstack::Gateway* gateway = nullptr;
  if (options.nat) {
    auto port = std::make_unique<netstack::Gateway>(loop, gateway_config, log);
    gateway = port.get();
    lan.add(std::move(port));
  }
  ControlSocket control(lan, log, gateway);
  control.show_reports([&](const std::string& file) { return options.lan.egress.option_of(file); });
  for (const std::string& path : options.vhost_user) lan.add_vhost_user(path);
  netstack::Capture* capture = nullptr;
  lan.open_directory(options.directory, {}, {}, [&](const netstack::LanDirectory& directory) {
    control.open(directory.file("control"));
    // Last before DIR/ctl, so that a switch that is refused leaves the file as it was.
    capture = options.lan.open_capture(lan, log);
  });
  control.show_capture(options.lan.capture, capture);
  control.show_sandbox(
      lock_switch(lock, lan, options.nat ? &gateway_config : nullptr, options.vhost_user, log));
  if (capture != nullptr) capture->start_writer();
  log.line(fmt::format("LAN {} is ready", options.directory));
  loop.run();
  if (gateway == nullptr) return std::nullopt;
  return gateway->flows().report();
}

int run_switch(const SwitchOptions& options) {
  if (const std::string given = options.lan.gateway_options(); !options.nat && !given.empty()) {
    throw netstack::Error(EX_USAGE,
                          fmt::format("cannot use {}: this LAN has no gateway; add --nat", given));
  }
  netstack::FdLog log(STDERR_FILENO, "lanyard");
  const auto gateway_config = options.lan.gateway();
  EgressReports reports(options.lan.egress);
  reports.open();
  LockOptions lock = options.lock;
  lock.output_directories = reports.directories();
  const auto egress = run_lan(options, gateway_config, lock, log);
  return egress ? reports.write(*egress, log) : EX_OK;
}

}  // namespace

void add_switch_command(CLI::App& app, int& status) {
  auto options = std::make_shared<SwitchOptions>();
  CLI::App* command = app.add_subcommand("switch", "Make a LAN: a directory of sockets");
  command
      ->add_option("DIR", options->directory, "The LAN's directory; made, and removed at the end")
      ->required()
      ->check(refuse_empty)
      ->type_name("");
  command->add_flag("--nat", options->nat, "Attach the gateway: DHCP, DNS and the host's network");
  command
      ->add_option("--vhost-user", options->vhost_user,
                   "Another socket for vhost-user front ends, besides DIR/vhost-user")
      ->type_name("PATH")
      ->check(refuse_empty);
  options->lan.add_to(*command);
  options->lock.add_to(*command);
  options->lock.add_capture_directories_to(*command);
  command->callback([options, &status] { status = run_switch(*options); });
}

}  // namespace tools
