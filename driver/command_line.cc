#include "driver/command_line.h"

#include <fmt/format.h>

#include <algorithm>

namespace driver {

namespace {

// QEMU's options without a value, of all releases since 2.0. What is not here takes the next word;
// an option that is new and unknown here hides at most the one that follows it.
constexpr std::string_view kFlags =
    " ? S alt-grab async-teardown audio-help ctrl-grab curses daemonize enable-fips enable-hax "
    "enable-kvm enable-nesting enable-sync-profile full-screen h help jitdump localtime "
    "mem-prealloc no-acpi no-fd-bootchk no-frame no-hpet no-kvm no-kvm-irqchip no-kvm-pit "
    "no-kvm-pit-reinjection no-quit no-reboot no-shutdown no-user-config nodefaults "
    "nodefconfig nographic old-param one-insn-per-tb only-migratable perfmap portrait "
    "preconfig rtc-td-hack s sdl semihosting singlestep snapshot std-vga tdf usb version "
    "win2k-hack xen-attach xen-create xen-domid-restrict ";

std::string name_of(std::string_view word) {
  word.remove_prefix(word.starts_with("--") ? 2 : 1);
  return word == "M" ? "machine" : std::string(word);
}

bool takes_value(std::string_view name) {
  return kFlags.find(fmt::format(" {} ", name)) == kFlags.npos;
}

std::string quoted(const std::string& word) {
  constexpr std::string_view kPlain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_@%+=:,./-";
  if (!word.empty() && word.find_first_not_of(kPlain) == word.npos) return word;
  std::string result = "'";
  for (const char c : word) result += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return result + "'";
}

}  // namespace

CommandLine::CommandLine(std::vector<std::string> words) : words_(std::move(words)) {
  for (const std::string& word : words_) pieces_.push_back({word});
  for (size_t at = 1; at < words_.size(); ++at) {
    if (words_[at].size() < 2 || words_[at][0] != '-') continue;
    Option option{name_of(words_[at]), at, false};
    option.has_value = takes_value(option.name) && at + 1 < words_.size();
    if (option.has_value) ++at;
    options_.push_back(std::move(option));
  }
}

std::vector<CommandLine::Option> CommandLine::named(std::string_view name) const {
  std::vector<Option> found;
  for (const Option& option : options_) {
    if (option.has_value && option.name == name) found.push_back(option);
  }
  return found;
}

bool CommandLine::has(std::string_view name) const {
  return std::any_of(options_.begin(), options_.end(),
                     [&](const Option& option) { return option.name == name; });
}

void CommandLine::replace(const Option& option, std::vector<std::string> words) {
  pieces_[option.at] = std::move(words);
  if (option.has_value) pieces_[option.at + 1].clear();
}

void CommandLine::set_value(const Option& option, std::string value) {
  pieces_[option.at + 1] = {std::move(value)};
}

const std::string& CommandLine::edited_value(const Option& option) const {
  return pieces_[option.at + 1].front();
}

void CommandLine::append(const std::vector<std::string>& words) {
  appended_.insert(appended_.end(), words.begin(), words.end());
}

std::vector<std::string> CommandLine::edited() const {
  std::vector<std::string> result;
  for (const auto& piece : pieces_) result.insert(result.end(), piece.begin(), piece.end());
  result.insert(result.end(), appended_.begin(), appended_.end());
  return result;
}

std::string CommandLine::unused_id() {
  for (;;) {
    std::string id = fmt::format("lanyard{}", ids_given_++);
    const auto holds_id = [&](const std::string& word) { return word.find(id) != word.npos; };
    if (std::none_of(words_.begin(), words_.end(), holds_id)) return id;
  }
}

std::string shell_text(const std::vector<std::string>& argv) {
  const CommandLine command(argv);
  std::string text;
  auto option = command.options().begin();
  for (size_t at = 0; at < argv.size(); ++at) {
    if (at != 0) text += " \\\n  ";
    text += quoted(argv[at]);
    if (option == command.options().end() || option->at != at) continue;
    if (option->has_value) text += ' ' + quoted(argv[++at]);
    ++option;
  }
  return text + '\n';
}

}  // namespace driver
