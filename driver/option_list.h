#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace driver {

// The value of a QEMU option: "user,id=n0,restrict,hostfwd=tcp::22-:22". As QEMU reads it:
//
//   a,,b        a comma inside a value
//   first item  without "=": the value of the implied key
//   word        without "=", later: word=on, and "noword" is word=off
//   a trailing comma ends the list and adds nothing
//
// What is not edited keeps its bytes.
class OptionList {
 public:
  static OptionList parse(std::string_view text, std::string_view implied_key);

  const std::string* find(std::string_view key) const;  // the last one counts; null: not there
  std::string get(std::string_view key) const;          // "" if not there
  std::vector<std::string> all(std::string_view key) const;
  std::vector<std::string> keys() const;  // each once, in order
  bool has(std::string_view key) const { return find(key) != nullptr; }
  // Empty: not there. on, yes, true, y and their opposites; `valid` turns false for another word.
  std::optional<bool> flag(std::string_view key, bool& valid) const;

  // In the place of the last item of that key, else at the end.
  void set(std::string_view key, std::string_view value);
  void remove(std::string_view key);
  std::string text() const;  // without a trailing comma

 private:
  struct Item {
    std::string key;
    std::string value;
    std::string raw;
    bool implied;  // the first item, given without its key
  };
  std::vector<Item> items_;
};

// With every comma doubled, as a value inside a list needs it.
std::string escaped(std::string_view value);

// QEMU takes -netdev, -device and -object in JSON too.
bool is_json(std::string_view value);

}  // namespace driver
