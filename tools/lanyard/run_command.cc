#include "tools/lanyard/run_command.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "driver/command_line.h"
#include "driver/guest.h"
#include "driver/parent_watch.h"
#include "driver/terminal.h"
#include "driver/transport_choice.h"
#include "netstack/base/error.h"
#include "netstack/gateway/gateway.h"
#include "netstack/loop/signal_watch.h"
#include "netstack/port/lan_directory.h"
#include "netstack/port/unix_socket.h"
#include "tools/control/control_socket.h"
#include "tools/lan/lan.h"
#include "tools/lan/standard_descriptors.h"
#include "tools/lanyard/given_word.h"
#include "tools/lanyard/guest_plug.h"
#include "tools/lanyard/lan_watch.h"
#include "tools/lanyard/lock.h"
#include "tools/lanyard/options.h"

namespace tools {

namespace {

constexpr uint64_t kStartup_ns = netstack::kSecond_ns;  // a command that fails sooner never ran

struct RunOptions {
  GuestPlugOptions guest;
  std::string control;  // the directory in which the private LAN is steered; empty: it is not
  LanOptions lan;
  LockOptions lock;
};

void refuse_options_of_a_private_lan(const RunOptions& options) {
  if (options.guest.join.empty()) return;
  if (!options.control.empty()) {
    throw netstack::Error(EX_USAGE,
                          fmt::format("cannot use --control with --lan: the LAN that is "
                                      "joined is steered where it is, by `lanyard ctl {}`",
                                      options.guest.join));
  }
  std::string given = options.lan.gateway_options();
  if (!options.lan.capture.empty()) given += given.empty() ? "--capture" : ", --capture";
  if (given.empty()) return;
  throw netstack::Error(EX_USAGE,
                        fmt::format("cannot use {} with --lan: they belong to the LAN that "
                                    "is joined; give them to its `lanyard switch`",
                                    given));
}

GuestPlugOptions plug_options(const RunOptions& options) {
  refuse_options_of_a_private_lan(options);
  GuestPlugOptions plug = options.guest;
  if (!plug.join.empty()) return plug;
  plug.gateway = options.lan.gateway();
  plug.net_is_chosen = !options.lan.net.empty();
  return plug;
}

int show_guest(const RunOptions& options, const std::vector<std::string>& guest_command) {
  netstack::FdLog log(STDERR_FILENO, "lanyard");
  const PluggedGuest guest = plug_guest_in(guest_command, plug_options(options), log);
  write_out(driver::shell_text(guest.command.argv));
  return EX_OK;
}

// DIRECTORY/control of a LAN that has no directory of its own.
struct PrivateControl {
  PrivateControl(const std::string& path, Lan& lan, netstack::Log& log, netstack::Gateway* gateway)
      : directory(path), socket(lan, log, gateway) {
    socket.open(directory.file("control"));
  }

  // What is left of it when we are killed. One who has taken the directory over keeps it.
  std::function<void()> remover() const {
    return [path = directory.path(), made = directory.made()] {
      try {
        const netstack::LanDirectory left(path, {.own = made});
        ::unlink(left.file("control").c_str());
      } catch (const netstack::Error&) {
      }
    };
  }

  netstack::LanDirectory directory;
  ControlSocket socket;
};

// Takes away the UNIX sockets that lead into the guest, when nobody listens there any more.
std::function<void()> forwards_remover(netstack::Gateway& gateway) {
  std::vector<std::string> paths;
  gateway.forwards().for_each([&](const netstack::Forward& forward) {
    if (forward.rule.is_unix()) paths.push_back(std::filesystem::absolute(forward.rule.path));
  });
  return [paths = std::move(paths)] {
    for (const std::string& path : paths) {
      if (netstack::probe_socket(path, SOCK_STREAM) == netstack::SocketState::kDead) {
        ::unlink(path.c_str());
      }
    }
  };
}

// QEMU calls a vhost-user socket again and again, the other ones once.
std::string lan_end_line(const std::string& directory, driver::Transport transport) {
  const char* guest = transport == driver::Transport::kVhostUser
                          ? "the guest plugs itself in there within a second"
                          : "then this guest";
  return fmt::format(
      "the LAN {} has ended, and the guest's network with it; start `lanyard switch {}` again, {}",
      directory, directory, guest);
}

struct GuestEnd {
  int status = EX_OK;
  std::optional<netstack::EgressBook> egress = std::nullopt;  // nothing: it had no gateway of ours
};

// The LAN has gone when this returns.
GuestEnd run_on_lan(const RunOptions& options, GuestPlugOptions plug,
                    const std::vector<std::string>& guest_command, const LockOptions& lock,
                    netstack::Log& log) {
  netstack::SystemClock clock;
  netstack::Loop loop(clock);
  const driver::Terminal terminal;
  std::optional<driver::Guest> guest;
  int ended_by = 0;  // the signal that has asked us to stop; the parent's end counts as SIGTERM
  const auto end = [&](int signal) {
    ended_by = signal;
    if (guest) guest->end();
  };
  const netstack::SignalWatch signals(loop, netstack::kEndingSignals, end);
  const driver::ParentWatch parent(loop, [&] { end(SIGTERM); });

  plug.give_up_fd = signals.fd();
  PluggedGuest plugged;
  try {
    plugged = plug_guest_in(guest_command, plug, log);
  } catch (const netstack::Error&) {
    loop.tick(0);
    if (ended_by == 0) throw;
  }
  loop.tick(0);
  if (ended_by != 0) return {.status = driver::kExitKilled + ended_by};  // with nothing started
  Lan lan(loop, log);
  plugged.command.output_to_stderr = options.lan.captures_to_stdout();
  const auto door = wire(plugged, lan, log);
  if (options.lan.egress.any() && plugged.running == nullptr) {
    throw netstack::Error(EX_USAGE,
                          "cannot use --egress-report, --learn: the guest's network is its own and "
                          "not this LAN's; leave its -netdev out");
  }
  std::optional<PrivateControl> control;
  if (!options.control.empty()) {
    control.emplace(options.control, lan, log, plugged.running);
    control->socket.show_reports(
        [&](const std::string& file) { return options.lan.egress.option_of(file); });
  }
  std::vector<std::function<void()>> leftovers;
  if (control) leftovers.push_back(control->remover());
  if (plugged.running != nullptr) leftovers.push_back(forwards_remover(*plugged.running));
  plugged.command.when_killed = [leftovers = std::move(leftovers)] {
    for (const auto& remove : leftovers) remove();
  };
  // Last, so that a command that cannot be run leaves the file as it was.
  netstack::Capture* capture = options.lan.open_capture(lan, log);
  if (control) control->socket.show_capture(options.lan.capture, capture);
  GuestEnd result;
  guest.emplace(loop, log, std::move(plugged.command), [&](int exit_status) {
    result.status = exit_status;
    loop.stop();
  });
  std::optional<LanWatch> joined;
  const driver::Transport joined_by = plugged.transport;
  if (const std::string& directory = options.guest.join; !directory.empty()) {
    joined.emplace(loop, directory, [&] {
      if (ended_by != 0) return;
      log.line(lan_end_line(directory, joined_by));
    });
  }
  const Sandbox sandbox =
      lock_run(lock, plugged.gateway, control ? control->directory.path() : "", log);
  if (control) control->socket.show_sandbox(sandbox);
  if (capture != nullptr) capture->start_writer();
  const uint64_t began_ns = clock.monotonic_ns();
  loop.run();
  if (ended_by == 0 && result.status != EX_OK && clock.monotonic_ns() - began_ns < kStartup_ns) {
    log.line(
        fmt::format("cannot run the guest: {} ended at once with status {}; mend its options: what "
                    "it complains of, if anything, stands above this line",
                    guest_command.front(), result.status));
  }
  if (plugged.running != nullptr) result.egress = plugged.running->flows().report();
  return result;
}

int run_guest(const RunOptions& options, const std::vector<std::string>& guest_command) {
  netstack::FdLog log(STDERR_FILENO, "lanyard");
  GuestPlugOptions plug = plug_options(options);
  EgressReports reports(options.lan.egress);
  reports.open();
  LockOptions lock = options.lock;
  lock.output_directories = reports.directories();
  const GuestEnd end = run_on_lan(options, std::move(plug), guest_command, lock, log);
  const int written = end.egress ? reports.write(*end.egress, log) : EX_OK;
  return end.status == EX_OK ? written : end.status;
}

}  // namespace

void add_run_command(CLI::App& app, const std::vector<std::string>& guest_command, int& status) {
  auto options = std::make_shared<RunOptions>();
  CLI::App* command = app.add_subcommand(
      "run", "Run a QEMU command with a network card on a LAN: its own, with NAT, or --lan DIR");
  command->footer(
      "The QEMU command follows after --, as in: lanyard run -- qemu-system-x86_64 -m 512 "
      "disk.qcow2");
  command->add_option("--lan", options->guest.join, "Join this LAN of `lanyard switch` instead")
      ->type_name("DIR")
      ->check(refuse_empty);
  command
      ->add_option("--mac", options->guest.mac,
                   "The card's MAC address (default: 52:54:00 and random)")
      ->type_name("MAC")
      ->check(refuse_empty);
  command
      ->add_option("--transport", options->guest.transport,
                   "How the guest is plugged in (default: the fastest that is possible)")
      ->type_name("vhost-user|stream|vde")
      ->check([](const std::string& name) {
        return driver::transport_named(name) ? "" : "vhost-user, stream or vde is needed";
      });
  command
      ->add_option(
          "--control", options->control,
          "Steer the guest's own LAN in this directory, as `lanyard ctl DIR` does; made, and "
          "removed at the end")
      ->type_name("DIR")
      ->check(refuse_empty);
  command->add_flag("--show", options->guest.show,
                    "Print the command as it would be started, and start nothing");
  options->lan.add_to(*command);
  options->lock.add_to(*command);
  command->callback([options, &guest_command, &status] {
    if (guest_command.empty()) {
      throw netstack::Error(
          EX_USAGE,
          "cannot run a guest: no QEMU command is given; write it after --, as in "
          "`lanyard run -- qemu-system-x86_64 -m 512 disk.qcow2`");
    }
    status = options->guest.show ? show_guest(*options, guest_command)
                                 : run_guest(*options, guest_command);
  });
}

}  // namespace tools
