// The four kinds of tests. Every suite names one of them, and `Tests/layers` fails on one that does not;
// `Tests/check` runs the fast ones after every change.

import Testing

extension Tag {
  /// Needs nothing but the libraries of this package, and is over in a second or two.
  @Tag package static var fast: Self
  /// Starts the built program or the genuine tools, or replays what these did.
  @Tag package static var genuine: Self
  /// Watches a program in a terminal.
  @Tag package static var terminal: Self
  /// Seeded cases, of which a variable of the environment takes more than `swift test` does.
  @Tag package static var campaign: Self
}
