// The way around the parser leads to what the parser makes of the same words, to the last property of every command.

import ArgumentParser
import TestSupport
import Testing

@testable import qatlas

@Suite(.tags(.terminal)) struct PlainWordsTests {
  /// All values of a command by the names of their properties; "not set" for one that would trap when it is read.
  private static func values(of whole: Any, _ path: String = "") -> [String] {
    let children = Mirror(reflecting: whole).children
    if let parsed = children.first(where: { $0.label == "_parsedValue" }) {
      guard let value = Mirror(reflecting: parsed.value).children.first, value.label == "value" else {
        return [path + " not set"]
      }
      return values(of: value.value, path)
    }
    guard whole is any ParsableArguments else { return ["\(path) = \(whole)"] }
    return children.flatMap { values(of: $0.value, path + "." + ($0.label ?? "")) }
  }

  static let plain: [[String]] = [
    [], ["a.qcow2"], ["--no-config", "a.qcow2"], ["a.qcow2", "--no-config", "--ro"], ["--rw", "a.qcow2"],
    ["infos"],
    ["info", "a.qcow2"], ["info", "-f", "qcow2", "a.qcow2"], ["info", "a.qcow2", "--output=json"],
    ["info", "--output", "human", "--json", "a.qcow2"], ["info", "--output", "xml", "a.qcow2"],
    ["map", "a.qcow2"], ["map", "-f", "raw", "--output", "json", "a.qcow2"], ["map", "a.qcow2", "--json"],
    ["map", "--output=json", "--output", "human", "a.qcow2"], ["map", "map"],
    ["check", "a.qcow2"], ["check", "--output=json", "-f", "qcow2", "a b"], ["check", "info"],
  ]

  @Test("the same command in all its values", arguments: plain)
  func same(_ words: [String]) throws {
    let command = try #require(PlainWords.command(words))
    let parsed = try Qatlas.parseAsRoot(words)
    #expect(type(of: command) == type(of: parsed))
    let values = Self.values(of: command)
    #expect(values.count > 10)
    #expect(values == Self.values(of: parsed))
  }

  static let others: [[String]] = [
    ["help"], ["help", "info"], ["--help"], ["--version"], ["-h"], ["info"], ["map"], ["check"],
    ["frag", "a"],
    ["explore", "a"], [""], ["--"], ["--", "a"], ["-"], ["a", "b"], ["--ro"], ["--ro", "--rw", "a"],
    ["--ro", "--ro", "a"],
    ["info", "--help"], ["info", "a", "-h"], ["info", "a", "b"], ["info", ""], ["info", "--", "a"],
    ["info", "-f"], ["info", "a", "-f"], ["info", "-f", "-x", "a"], ["info", "-f", "", "a"],
    ["info", "-fqcow2", "a"],
    ["info", "-f", "raw", "-f", "qcow2", "a"], ["info", "--json", "--json", "a"],
    ["info", "--output=xml", "a"],
    ["info", "--backing-chain", "a"], ["map", "-s", "0", "a"], ["map", "a", "--nonsense"],
    ["check", "-q", "a"], ["check", "-r", "leaks", "a"], ["check", "---completion"],
  ]

  @Test("all else is the parser's, be it for what it says against it", arguments: others)
  func other(_ words: [String]) { #expect(PlainWords.command(words) == nil) }
}
