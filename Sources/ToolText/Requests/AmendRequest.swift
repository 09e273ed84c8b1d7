// What `amend` was asked for: lists of options with the genuine tool's sentences for those that cannot be read
// or are only for new images, and the list of those that there are.

import Cartography
package import Qcow

/// A request to change options of an image.
package struct AmendRequest {
  /// Why the words make no sense.
  package typealias Refusal = CreateRequest.Refusal

  /// The new values.
  package private(set) var amendment = Amendment()
  /// What is asked for of key slots, without the passphrases; nil if nothing is.
  package private(set) var keys: Keys?

  /// Words about key slots.
  package struct Keys {
    /// "active" or "inactive".
    package var state: String?
    /// The name of the secret that a slot gets.
    package var newSecret: String?
    /// The name of the secret whose slots are emptied.
    package var oldSecret: String?
    /// The number of the slot.
    package var slot: UInt64?
    /// How long stretching may take.
    package var milliseconds: UInt64?
  }

  /// Whether the lists ask what there is; a value may be called so.
  package static func asksForHelp(_ lists: [String]) -> Bool {
    lists.contains { list in
      list.split(separator: ",", omittingEmptySubsequences: false).contains { $0 == "help" || $0 == "?" }
    }
  }

  /// Whether the value of an option is a list at all.
  ///
  /// - Throws: ``Refusal`` if not.
  package static func check(list: String) throws(Refusal) {
    guard !list.isEmpty else { throw Refusal("Invalid option list: ") }
    _ = try CreateRequest.items(of: list)
  }

  /// Reads lists; each has been checked.
  ///
  /// - Throws: ``Refusal`` for an option that there is not, and for a value that cannot be read.
  package init(_ lists: [String]) throws(Refusal) {
    let items = try CreateRequest.items(of: lists.joined(separator: ",")).map(Self.pair)
    for (name, value) in items {
      guard AmendmentWords.names.contains(name) || Self.keyNames.contains(name) else {
        var refusal = Refusal("Invalid parameter '\(Escaping.human(name))'")
        if items.allSatisfy({ Self.isKnown($0) }) {
          refusal.hint = "This option is only supported for image creation\n"
        }
        throw refusal
      }
      do throws(AmendmentWords.Refusal) { try set(name, value) } catch {
        throw Refusal(error.description, hint: error.hint)
      }
    }
  }

  /// A bare name is switched on, with "no" in front off, whether there is such an option or not.
  private static func pair(_ item: String) -> (name: String, value: String) {
    let (name, value) = CreateRequest.sides(of: item)
    if let value { return (name, value) }
    return name.hasPrefix("no") ? (String(name.dropFirst(2)), "off") : (name, "on")
  }

  private static let keyNames = [
    "encrypt.iter-time", "encrypt.keyslot", "encrypt.new-secret", "encrypt.old-secret", "encrypt.state",
  ]

  private mutating func set(_ name: String, _ value: String) throws(AmendmentWords.Refusal) {
    guard Self.keyNames.contains(name) else {
      return try AmendmentWords.set(name, value, in: &amendment)
    }
    var keys = keys ?? Keys()
    switch name {
    case "encrypt.state": keys.state = value
    case "encrypt.new-secret": keys.newSecret = value
    case "encrypt.old-secret": keys.oldSecret = value
    case "encrypt.keyslot": keys.slot = try AmendmentWords.number(name, value)
    default: keys.milliseconds = try AmendmentWords.number(name, value)
    }
    self.keys = keys
  }

  /// Whether a new image could have the option so.
  private static func isKnown(_ item: (name: String, value: String)) -> Bool {
    if AmendmentWords.names.contains(item.name) || keyNames.contains(item.name) { return true }
    guard CreateHelp.names.contains(item.name) else { return false }
    let value = item.value
    switch item.name {
    case "cluster_size": return (try? Notation.parse(value)) != nil
    case "extended_l2", "keep_data_file", "encryption":
      return ["on", "off", "yes", "no", "true", "false", "y", "n"].contains(value)
    default: return true
    }
  }

  /// The list of what can be changed.
  package static let help =
    "Amend options for 'qcow2':\n"
    + rows.sorted { $0.name < $1.name }.map { row in
      "  " + row.name + String(repeating: " ", count: max(0, 22 - row.name.utf8.count))
        + " - \(row.meaning)\n"
    }.joined()

  private static let rows: [(name: String, meaning: String)] =
    CreateHelp.rows(of: AmendmentWords.names) + [
      ("encrypt.iter-time=<num>", "Time to spend in PBKDF in milliseconds"),
      ("encrypt.keyslot=<num>", "Select a single keyslot to modify explicitly"),
      ("encrypt.new-secret=<str>", "New secret to set in the matching keyslots. Empty string to erase"),
      ("encrypt.old-secret=<str>", "Select all keyslots that match this password"),
      ("encrypt.state=<str>", "Select new state of affected keyslots (active/inactive)"),
    ]
}
