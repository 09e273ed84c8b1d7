// `qatlas l2` and `qatlas layout`: the L2 screen and the host map as text or JSON, one record per
// line, for pipes, screen readers and scripts.

import ArgumentParser
import Cartography
import Explorer
import Qcow
import QcowFormat
import ToolText

struct L2Command: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "l2", abstract: "Show the entries of the L2 tables.",
    discussion: "All tables in use, or one table, or the entry of one place bit by bit.")

  @Option(name: [.customShort("i"), .customLong("index")], help: "Only the table of this L1 entry.")
  var index: Int?
  @Option(help: "Only the entry that maps this offset of the disk, bit by bit.") var guest: String?
  @OptionGroup var listed: ListedImage

  func validate() throws {
    if index != nil && guest != nil { throw ValidationError("-i and --guest exclude each other") }
  }

  func run() throws {
    let streams = Streams()
    defer { streams.flush() }
    let opened = try listed.open(streams)
    let atlas = Atlas(opened)
    // Whether an entry is right follows from all the others.
    atlas.scanAll()
    var text = L2Text(atlas, json: listed.json, output: streams.output)
    let isGood: Bool
    if let guest {
      let offset: UInt64
      do throws(Notation.ParseError) { offset = try Notation.parse(guest) } catch {
        throw streams.failure(Escaping.human(error.description))
      }
      guard offset < opened.geometry.virtualSize else {
        throw streams.failure(
          "guest offset \(offset) lies behind the end of the disk (\(opened.geometry.virtualSize) bytes)")
      }
      isGood = text.write(guest: GuestOffset(offset))
    } else if let index {
      guard index >= 0, index < opened.l1Count else {
        throw streams.failure("there is no L1 entry \(index); the L1 table has \(opened.l1Count) entries")
      }
      isGood = text.write(tables: index..<index + 1)
    } else {
      isGood = text.write(tables: 0..<opened.l1Count)
    }
    if !isGood { throw streams.failure("some L2 tables could not be read") }
  }
}

struct LayoutCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "layout", abstract: "Show what every cluster of the file is.",
    discussion: """
      Runs of clusters in the same state with the owner of the first, then totals, what fills the file in bytes and \
      per cent, the longest rows of free clusters, why the file ends where it does, and where the next new cluster \
      goes.
      """)

  @Flag(
    name: .customLong("no-owners"), help: "Do not look up the owners of data; faster for scattered images.")
  var noOwners = false
  @Flag(help: "Leave out the runs: only what they add up to.") var summary = false
  @OptionGroup var listed: ListedImage

  func run() throws {
    let streams = Streams()
    defer { streams.flush() }
    let atlas = Atlas(try listed.open(streams))
    atlas.scanAll()
    var text = LayoutText(
      atlas, json: listed.json, showsOwners: !noOwners, showsRuns: !summary, output: streams.output)
    text.write()
  }
}

struct OwnersCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "owners", abstract: "Show who uses a host cluster.",
    discussion: "All owners of the cluster at HOST: places of the disk, snapshots, tables.")

  @OptionGroup var listed: ListedImage
  @Argument(help: "An offset in the file, as 0x50000 or 320k.") var host: String

  func run() throws {
    let streams = Streams()
    defer { streams.flush() }
    let opened = try listed.open(streams)
    let offset: UInt64
    do throws(Notation.ParseError) { offset = try Notation.parse(host) } catch {
      throw streams.failure(Escaping.human(error.description))
    }
    let atlas = Atlas(opened)
    atlas.scanAll()
    var text = OwnersText(atlas, json: listed.json, output: streams.output)
    text.write(HostOffset(offset))
  }
}

/// Opens images for commands that look at tables alone, so that no layer below can be in their way.
enum Listing {
  /// `tellsMissing` is for output that shows what the layers below answer, `readsData` for output that shows
  /// bytes of the external data file.
  static func open(
    _ image: String, _ word: ImageWord, _ chain: ChainFlags, _ share: ShareFlag, _ streams: Streams,
    tellsMissing: Bool = true, readsData: Bool = false
  ) throws -> Image {
    let request = try Opening.request(image, nil, isOptions: word.isOptions, chain, share, streams)
    var opening = ImageOpening(request.file, request.policy)
    opening.policy.opensDataFile = readsData
    opening.policy.needsNoLayer = true
    opening.demand = .look
    do throws(Opening.Refusal) {
      let opened = try Opening.image(opening, streams)
      if let missing = opened.missingLayer, tellsMissing, !chain.allowsMissing {
        streams.error("note: a layer is not looked at: \(Escaping.human(missing.reason))\n")
      }
      return opened
    } catch { throw Opening.failure(image, error, streams) }
  }
}
