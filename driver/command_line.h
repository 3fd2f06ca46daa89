#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace driver {

// A QEMU command, taken apart as QEMU does: the program, then options with one dash or two, most
// with a value in the next word; what has no dash is a disk image. A command may as well be a
// script that hands its words to QEMU: its leading words are then such images.
class CommandLine {
 public:
  struct Option {
    std::string name;  // without dashes; "machine" for -M
    size_t at = 0;     // its word; the value is the next one
    bool has_value = false;
  };

  explicit CommandLine(std::vector<std::string> words);

  const std::vector<std::string>& words() const { return words_; }
  const std::vector<Option>& options() const { return options_; }
  std::vector<Option> named(std::string_view name) const;  // those with a value
  bool has(std::string_view name) const;
  const std::string& value(const Option& option) const { return words_[option.at + 1]; }

  // Edits show in edited() only; everything above stays as the user gave it. Replacing an option
  // twice keeps the last.
  void replace(const Option& option, std::vector<std::string> words);
  void set_value(const Option& option, std::string value);
  const std::string& edited_value(const Option& option) const;
  void append(const std::vector<std::string>& words);
  std::vector<std::string> edited() const;

  // "lanyard0", or the next one that stands nowhere in the command, whatever the syntax there.
  // Never the same twice.
  std::string unused_id();

 private:
  std::vector<std::string> words_;
  std::vector<Option> options_;
  std::vector<std::vector<std::string>> pieces_;  // what each word has become
  std::vector<std::string> appended_;
  unsigned ids_given_ = 0;
};

// For people: as a shell takes it, one option to a line.
std::string shell_text(const std::vector<std::string>& argv);

}  // namespace driver
