#include "driver/option_list.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>

namespace driver {

namespace {

// How many bytes of `text` are one value: to its end, or to a comma that stands alone.
size_t value_size(std::string_view text) {
  for (size_t at = 0; at < text.size(); ++at) {
    if (text[at] != ',') continue;
    if (at + 1 == text.size() || text[at + 1] != ',') return at;
    ++at;
  }
  return text.size();
}

std::string unescaped(std::string_view value) {
  std::string result;
  for (size_t at = 0; at < value.size(); ++at) {
    result += value[at];
    if (value[at] == ',') ++at;  // the second one of a pair
  }
  return result;
}

struct Word {
  std::string_view text;
  std::optional<bool> flag;
};

constexpr std::array kFlagWords = {
    Word{"on", true},   Word{"yes", true}, Word{"true", true},   Word{"y", true},
    Word{"off", false}, Word{"no", false}, Word{"false", false}, Word{"n", false},
};

}  // namespace

OptionList OptionList::parse(std::string_view text, std::string_view implied_key) {
  OptionList list;
  while (!text.empty()) {
    const bool first = list.items_.empty();
    const size_t key_size = std::min(text.find_first_of("=,"), text.size());
    const bool assigns = key_size < text.size() && text[key_size] == '=';
    Item item{"", "", "", false};
    size_t size = key_size;
    if (assigns) {
      const size_t begin = key_size + 1;
      const size_t bytes = value_size(text.substr(begin));
      item.key = text.substr(0, key_size);
      item.value = unescaped(text.substr(begin, bytes));
      size = begin + bytes;
    } else if (first && !implied_key.empty()) {
      size = value_size(text);
      item.key = implied_key;
      item.value = unescaped(text.substr(0, size));
      item.implied = true;
    } else {
      const bool off = text.starts_with("no");
      item.key = text.substr(off ? 2 : 0, key_size - (off ? 2 : 0));
      item.value = off ? "off" : "on";
    }
    item.raw = text.substr(0, size);
    list.items_.push_back(std::move(item));
    text.remove_prefix(std::min(text.size(), size + 1));
  }
  return list;
}

const std::string* OptionList::find(std::string_view key) const {
  const auto at = std::find_if(items_.rbegin(), items_.rend(),
                               [&](const Item& item) { return item.key == key; });
  return at == items_.rend() ? nullptr : &at->value;
}

std::string OptionList::get(std::string_view key) const {
  const std::string* value = find(key);
  return value == nullptr ? std::string() : *value;
}

std::vector<std::string> OptionList::all(std::string_view key) const {
  std::vector<std::string> values;
  for (const Item& item : items_) {
    if (item.key == key) values.push_back(item.value);
  }
  return values;
}

std::vector<std::string> OptionList::keys() const {
  std::vector<std::string> keys;
  for (const Item& item : items_) {
    if (std::find(keys.begin(), keys.end(), item.key) == keys.end()) keys.push_back(item.key);
  }
  return keys;
}

std::optional<bool> OptionList::flag(std::string_view key, bool& valid) const {
  const std::string* value = find(key);
  if (value == nullptr) return std::nullopt;
  for (const Word& word : kFlagWords) {
    if (word.text == *value) return word.flag;
  }
  valid = false;
  return std::nullopt;
}

void OptionList::set(std::string_view key, std::string_view value) {
  const auto at = std::find_if(items_.rbegin(), items_.rend(),
                               [&](const Item& item) { return item.key == key; });
  Item* item =
      at == items_.rend() ? &items_.emplace_back(Item{std::string(key), "", "", false}) : &*at;
  item->value = value;
  item->raw = item->implied ? escaped(value) : fmt::format("{}={}", key, escaped(value));
}

void OptionList::remove(std::string_view key) {
  std::erase_if(items_, [&](const Item& item) { return item.key == key; });
}

std::string OptionList::text() const {
  std::string text;
  for (const Item& item : items_) {
    if (&item != items_.data()) text += ',';
    text += item.raw;
  }
  return text;
}

std::string escaped(std::string_view value) {
  std::string result;
  for (const char c : value) result.append(c == ',' ? 2 : 1, c);
  return result;
}

bool is_json(std::string_view value) {
  return value.starts_with('{');
}

}  // namespace driver
