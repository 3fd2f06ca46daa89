// The order of things. DIR/ctl means ready, so everything that can fail, and the commands of the
// rc file, come before it; a client that is there first meets the ports as they were configured.
// The pid file is older than the directory and goes after it.
#include "tools/vde_switch/vde_switch.h"

#include <fmt/format.h>
#include <grp.h>
#include <pwd.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <optional>

#include "netstack/base/error.h"
#include "netstack/loop/signal_watch.h"
#include "netstack/port/tap_port.h"
#include "tools/lan/lan.h"
#include "tools/sandbox/sandbox.h"
#include "tools/vde_switch/console.h"
#include "tools/vde_switch/interpreter.h"
#include "tools/vde_switch/management.h"

namespace tools {

using netstack::Error;

namespace {

constexpr int kDirectoryStatus = 255;
constexpr int kPidFileStatus = 1;
constexpr uint64_t kVdeAging_ns = 100 * netstack::kSecond_ns;  // what scripts expect to see

template <typename Act>
void with_status(int status, Act act) {
  try {
    act();
  } catch (const Error& error) {
    throw Error(status, error.what());
  }
}

netstack::LanDirectoryRules directory_rules(const VdeSwitchOptions& options) {
  netstack::LanDirectoryRules rules;
  rules.mode = options.lan_directory_mode();
  rules.group = options.group;
  rules.own = true;
  rules.set_group_id_if_permitted = options.wants_set_group_id();
  return rules;
}

netstack::VdeModes socket_modes(const VdeSwitchOptions& options) {
  netstack::VdeModes modes;
  modes.ctl = options.socket_mode();
  modes.data = options.socket_mode();
  modes.group = options.group;
  modes.management_data = options.management_mode;
  modes.management_group = options.management_group;
  return modes;
}

void configure(SwitchState& state) {
  const VdeSwitchOptions& options = state.options;
  vlan::Switch& fabric = state.lan.fabric();
  fabric.set_hub(options.hub);
  fabric.fdb().set_hash_size(static_cast<uint32_t>(options.hash_size));
  if (fabric.fdb().hash_size() != static_cast<uint32_t>(options.hash_size)) {
    state.log.line(fmt::format("the hash size is a power of 2: {} is rounded to {}",
                               options.hash_size, fabric.fdb().hash_size()));
  }
  if (options.spanning_tree && !options.hub) {
    state.log.line("there is no spanning tree (-F): a storm guard limits what loops can do");
  }
}

// A tap that cannot be had costs its own traffic, not the switch.
void add_taps(SwitchState& state) {
  for (const std::string& name : state.options.taps) {
    try {
      auto tap = netstack::open_tap(state.lan.loop(), state.lan, name);
      netstack::PlugRequest request;
      request.owner = ::geteuid();
      request.module = "tuntap";
      request.description = tap->interface();
      state.lan.add_plug(std::move(tap), request);
    } catch (const Error& error) {
      state.log.line(error.what());
    }
  }
}

// What a user who may not look there has by HOME=/root, say, is no rc file of his.
bool is_out_of_reach(int errno_value) {
  return errno_value == ENOENT || errno_value == EACCES || errno_value == ENOTDIR;
}

std::string why_rc_file_is_refused(int errno_value) {
  if (errno_value != ETIMEDOUT) {
    return netstack::errno_text(errno_value) + "; the switch goes on without them";
  }
  return "its writer has not come to an end; write the commands into a file";
}

// False: its commands end the switch.
bool run_rc_file(Interpreter& interpreter, SwitchState& state) {
  const char* home = std::getenv("HOME");
  std::vector<std::string> paths{state.options.rc_file};
  const bool given = !state.options.rc_file.empty();
  if (!given) {
    paths = {fmt::format("{}/.vde2/vde_switch.rc", home != nullptr ? home : ""),
             "/etc/vde2/vde_switch.rc"};
  }
  for (const std::string& path : paths) {
    Interpreter::Reply reply;
    const int refusal = interpreter.load(path, nullptr, 0, reply);
    if (refusal == 0) return reply.next != Next::kShutdown;
    if (given || !is_out_of_reach(refusal)) {
      state.log.line(
          fmt::format("cannot run the commands of {}: {}", path, why_rc_file_is_refused(refusal)));
    }
  }
  return true;
}

// User databases are loaded by the C library when they are first asked; it cannot load code later.
void load_user_databases() {
  ::getpwuid(::geteuid());
  ::getgrgid(::getegid());
}

// Reading stays open: the console's `load` takes any file, and there is no NAT engine in here.
void lock(const VdeSwitchOptions& options, const Lan& lan, FaceLog& log) {
  load_user_databases();
  SandboxPlan plan;
  const mode_t modes = options.socket_mode() | options.management_mode;
  add_lan_directory(plan, lan.directory(),
                    (modes & 077) != 0 || options.group || options.management_group);
  plan.files.push_back({"/", FileUse::kRead});
  plan.files.push_back({"/dev/null", FileUse::kWrite});
  add_removal(plan, options.pid_file);
  add_removal(plan, options.management);
  lock_in_if_wanted(plan, log);
}

}  // namespace

VdeSwitchEnd run_vde_switch(VdeSwitchOptions options, FaceLog& log) {
  sandbox_is_wanted();  // or it is refused here
  Background background(options.daemon);
  VdeSwitchEnd end;
  netstack::SystemClock clock;
  netstack::Loop loop(clock);
  const netstack::SignalWatch signals(loop, netstack::kEndingSignals, [&](int signal) {
    log.line(fmt::format("Caught signal {}, cleaning up and exiting", signal));
    if (signal != SIGTERM) end.signal = signal;
    loop.stop();
  });
  std::optional<PidFile> pid_file;
  with_status(kPidFileStatus, [&] { pid_file.emplace(options.pid_file); });

  Lan lan(loop, log, {.aging_ns = kVdeAging_ns, .say_drops = false});
  EventBoard events;
  SwitchState state{lan, log, options, events, clock.monotonic_ns()};
  Interpreter interpreter(state);
  lan.fabric().fdb().watch(&events);
  lan.ports().watch([&events](const PortEvent& event) { events.port_event(event); });

  configure(state);
  add_taps(state);
  std::optional<Management> management;
  if (!options.management.empty()) {
    try {
      management.emplace(interpreter, state, [&loop] { loop.stop(); });
    } catch (const Error& error) {
      log.line(error.what());
      options.management.clear();  // nobody is told of what is not there
    }
  }
  if (!run_rc_file(interpreter, state)) return end;
  with_status(kDirectoryStatus, [&] {
    lan.open_directory(options.directory, directory_rules(options), socket_modes(options));
  });
  std::optional<Console> console;
  if (options.reads_stdin && !options.daemon) {
    console.emplace(interpreter, state, [&](Console::End how) {
      if (how == Console::End::kInputEnded) log.line("EOF on stdin, cleaning up and exiting");
      loop.stop();
    });
  }
  background.ready(log);
  lock(options, lan, log);
  loop.run();
  lan.fabric().fdb().watch(nullptr);
  lan.ports().watch({});
  return end;
}

}  // namespace tools
