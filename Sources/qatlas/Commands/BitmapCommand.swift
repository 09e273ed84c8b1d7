// `qatlas bitmap`: adds, removes, clears, enables, disables and merges persistent bitmaps, several in a row, as
// the genuine tool does. What was done before an action that fails stays.

import ArgumentParser
import Cartography
import Qcow
import Storage
import ToolText

extension BitmapRequest.Action: EnumerableFlag {
  static func name(for value: Self) -> NameSpecification { .customLong(value.rawValue) }

  static func help(for value: Self) -> ArgumentHelp? {
    switch value {
    case .add: "Add the bitmap; it records what is written from now on."
    case .remove: "Remove it, also if it cannot be trusted."
    case .removeAll: "Remove all bitmaps."
    case .clear: "Take all its bits back."
    case .enable: "Let it record what is written."
    case .disable: "Let it stay as it is."
    case .merge: "Set the bits of the bitmap whose name is the next word in it as well."
    }
  }
}

struct BitmapCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "bitmap", abstract: "Add, remove, clear, enable, disable or merge persistent bitmaps.",
    discussion: "Actions are done in the order of the words; those before one that fails stay done.")

  @Flag var actions: [BitmapRequest.Action] = []
  @Option(name: .customLong(Self.sourceName), parsing: .singleValue, help: .hidden) var sources: [String] = []
  @Option(
    name: [.customShort("g", allowingJoined: true), .customLong("granularity")],
    help: "With --add: how many bytes of the disk a bit stands for, a power of two.")
  var granularity: String?
  @Option(
    name: [.customShort("b", allowingJoined: true), .customLong("source-file")],
    help: "With --merge: the image of the other bitmap.", completion: .file())
  var sourceFile: String?
  @Option(
    name: [.customShort("F", allowingJoined: true), .customLong("source-format")],
    help: "The format of that image.", completion: .formats)
  var sourceFormat: String?
  @OptionGroup var target: ChangeTarget
  @Argument(help: "The image file, and the name of the bitmap.", completion: .file()) var words: [String] = []

  private static let sourceName = "merge-source"

  /// Says of the word behind `--merge` that it is the bitmap, so that actions keep their order and each has its
  /// own.
  static func separated(_ arguments: [String]) -> [String] {
    var result: [String] = []
    var rest = arguments[...]
    while let word = rest.popFirst() {
      if word == "--" { return result + [word] + rest }
      if word == "--merge", let source = rest.popFirst() {
        result += [word, "--\(sourceName)=\(source)"]
      } else if word.hasPrefix("--merge=") {
        result += ["--merge", "--\(sourceName)=\(word.dropFirst("--merge=".count))"]
      } else {
        result.append(word)
      }
    }
    return result
  }

  func run() throws {
    let streams = Streams(loss: .isKept)
    defer { streams.flush() }
    let request: BitmapRequest
    do throws(BitmapRequest.Refusal) {
      request = try BitmapRequest(
        actions, sources: sources, granularity: granularity, hasSourceFile: sourceFile != nil,
        hasSourceFormat: sourceFormat != nil, operands: words)
    } catch { throw streams.failure(error.description) }
    let image = try target.open(request.file, streams)
    do {
      let other = try sourceFile.map { try self.bitmaps(of: $0, streams) }
      for (action, step) in request.steps(other) {
        do throws(ImageError) {
          if let image { try image.changeBitmaps(step) } else { try refuseRaw(request, action) }
        } catch {
          throw streams.failure(
            "Operation \(action.rawValue) on bitmap \(Escaping.human(request.name)) failed: "
              + Escaping.human(error.description), hint: error.hint.map { $0 + "\n" })
        }
      }
    } catch {
      // Bitmaps are in use in the file from the moment it was opened.
      try? image?.close()
      throw error
    }
    do throws(ImageError) { try image?.close() } catch {
      throw streams.failure(Escaping.human(error.description))
    }
    try streams.end()
  }

  /// A raw file has no bitmaps and takes none.
  private func refuseRaw(_ request: BitmapRequest, _ action: BitmapRequest.Action) throws(ImageError) {
    switch action {
    case .removeAll: return
    case .add:
      throw ImageError(
        .unsupported, "Can't store persistent bitmaps to \(request.file): Operation not supported")
    default: throw ImageError(.invalidRequest, "Dirty bitmap '\(request.name)' not found")
    }
  }

  /// The bitmaps of the image that is merged from.
  private func bitmaps(of file: String, _ streams: Streams) throws -> BitmapCopy {
    let request = try Opening.request(file, sourceFormat, isOptions: false, target.chain, nil, streams)
    do throws(Opening.Refusal) {
      var opening = request.opening(sourceFormat)
      opening.reach = .image
      opening.secret = { file throws(ImageError) in try target.unlock.needed(request, for: file) }
      guard let image = try Opening.open(opening, streams).image else { return BitmapCopy() }
      do throws(ImageError) { return try BitmapCopy(image) } catch { throw Opening.Refusal(error) }
    } catch { throw Opening.failure(file, error, streams) }
  }
}
