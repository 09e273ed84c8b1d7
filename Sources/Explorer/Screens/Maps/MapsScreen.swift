// The main screen: guest map, host map with legend, "Where is it?", log. One position stands out in
// both maps, and every pane speaks about that position.

import Cartography
import CellScreen
import Qcow
import QcowFormat
import Storage

extension ScreenKind {
  /// The two maps with their panes, the first screen.
  package static let explorer = ScreenKind("explorer")
}

extension Context {
  /// The map of the disk.
  package static let guestMap = Context("guestMap", title: "Guest map", [.maps, .panes, .image, .searched])
  /// The map of the file.
  package static let hostMap = Context("hostMap", title: "Host map", [.maps, .panes, .image, .searched])
  /// The pane of one place.
  package static let whereIsIt = Context("whereIsIt", title: "Where is it?", [.panes, .image, .searched])
  /// The pane of what was done.
  package static let log = Context("log", title: "Log", [.panes, .image, .searched])
}

extension Address {
  /// A pane of the main screen.
  static func maps(_ pane: PaneNumber) -> Address { Address(.explorer, [UInt64(pane.rawValue)]) }
}

final class MapsScreen: Screen {
  static let kind = ScreenKind.explorer
  static let contexts: [Context] = [.guestMap, .hostMap, .whereIsIt, .log]
  static let commands = MapsCommands.all
  static let choices = Lens.allCases.map(\.name)

  let desk: Desk
  /// What the cells of both maps show.
  var lens = Lens.kind
  /// The snapshot that the lens of the owners is about, by its index; nil for all.
  private(set) var snapshotOfOwner: Int?
  /// What the lens of the difference compares with, if that was said, and how often.
  private(set) var compared: ComparedState?
  private var comparisons = 0
  private var sheet: (key: SheetKey, sheet: (any LensSheet)?)?
  /// On small screens the log stands where "Where is it?" else is.
  var showsLog = false
  /// The pane that has the keys.
  private(set) var focus = PaneNumber.guestMap
  private lazy var guest = GuestMapPane(self)
  private lazy var host = HostMapPane(self)
  private lazy var place = PlacePane(self)
  private lazy var log = LogPane(self)

  init(_ desk: Desk) { self.desk = desk }

  private func pane(_ number: PaneNumber) -> any Pane {
    switch number {
    case .guestMap: guest
    case .hostMap: host
    case .place: place
    case .log: log
    }
  }

  /// What a sheet was made of.
  private struct SheetKey: Equatable {
    var lens: Lens
    var scene: ObjectIdentifier
    var revision: Int
    var bitmap: String?
    var snapshot: Int?
    var comparison = 0
  }

  /// The lens on what is shown.
  var view: LensView {
    guard let make = lens.sheet else { return LensView(lens: lens, sheet: nil, glyphs: desk.glyphs) }
    let key = SheetKey(
      lens: lens, scene: ObjectIdentifier(desk.scene), revision: desk.revision,
      bitmap: lens == .bitmap ? desk.selectedBitmap : nil, snapshot: lens == .owner ? snapshotOfOwner : nil,
      comparison: lens == .difference ? comparisons : 0)
    if sheet?.key != key { sheet = (key, make(desk)) }
    return LensView(lens: lens, sheet: sheet?.sheet, glyphs: desk.glyphs)
  }

  /// The work of the lens.
  var sheets: [any Work] { view.sheet.map { [$0] } ?? [] }
  /// The lens answers behind the maps.
  var scans: [any Work] { sheets.isEmpty ? [] : desk.scene.works + sheets }

  var progress: (text: String, done: Double)? {
    guard desk.scene.atlas.isDone, let sheet = view.sheet, sheet.progress < 1 else { return nil }
    return ("lens \(lens.name)", sheet.progress)
  }

  /// The map of one side.
  func map(_ side: Side) -> any MapPane { side == .guest ? guest : host }

  /// The nearest host cluster in the state that a word names, round the end; nil if there is none.
  ///
  /// - Throws: `CommandError` for a word that names no state.
  func nextHost(_ text: String, from cluster: UInt64, forward: Bool) throws(CommandError) -> FoundState? {
    try host.nextAround(text, from: cluster, forward: forward)
  }

  /// Panes that the user does not want to see.
  private(set) var hidden: Set<PaneNumber> = []
  /// The pane that has the keys has all of the screen.
  private(set) var isEnlarged = false

  private var layout: MapsLayout {
    MapsLayout(
      desk.frame, focus: focus, showsLog: showsLog,
      MapsLayout.Wishes(hidden: hidden, isEnlarged: isEnlarged, logLines: log.lineCount) { [guest, host] in
        max(
          $0.frame.isEmpty ? 0 : guest.wantedRows($0), $1.frame.isEmpty ? 0 : host.wantedRows($1))
      })
  }
  func room(_ pane: PaneNumber) -> PaneRoom { layout.room(pane) }

  // MARK: Picture

  var context: Context { pane(focus).context }
  var hints: [HintRule] {
    (isEnlarged ? [HintRule(.enlarge, nil, "all panes", short: "panes")] : []) + pane(focus).hints
  }

  /// The screens that answer questions about the image.
  var secondHints: [HintRule] { ScreenList.answers }

  func draw(_ frame: ScreenFrame, on canvas: inout Canvas) {
    let layout = layout
    let place = desk.place
    for number in PaneNumber.allCases {
      let room = layout.room(number)
      if !room.frame.isEmpty { pane(number).draw(room, place, on: &canvas) }
    }
    if !layout.spare.isEmpty { SizesSummary(desk).draw(layout.spare, on: &canvas) }
  }

  /// "Where is it?" shows it.
  var cursorText: String { room(.place).frame.isEmpty ? desk.cursorText : "" }

  var titles: [String] {
    let geometry = desk.geometry
    let image = desk.scene.image
    let cluster = Notation.compact(geometry.clusterSize)
    let sub = Notation.compact(geometry.subclusterSize)
    let version = image.header.version
    let extended = geometry.hasExtendedL2
    let data = desk.scene.dataFileName.map { ", data in \($0)" } ?? ""
    let encryption = encryptionName.map { ", \($0)" } ?? ""
    let below =
      encryption + data + (image.backingFileName.map { " over \(TextWidth.sanitized($0))" } ?? "")
    let usual = [
      " qcow2 v\(version), \(cluster) clusters" + (extended ? ", \(sub) subclusters" : "")
        + ", \(geometry.refcountBits)-bit refcounts, \(Notation.compact(geometry.virtualSize)) disk"
        + below,
      " qcow2 v\(version), \(cluster) clusters" + (extended ? ", \(sub) subclusters" : "") + below,
      "v\(version) \(cluster)" + (extended ? "/\(sub) ext-L2" : "") + " \(geometry.refcountBits)-bit"
        + below,
      "v\(version) \(cluster)" + (extended ? "/\(sub)" : "") + encryption,
    ]
    // That nobody can read it is worth more than how large its clusters are.
    let shortest =
      encryptionName.map { ["v\(version), \($0)", $0] }
      ?? ["v\(version) \(cluster)" + (extended ? "/\(sub)" : ""), "v\(version)"]
    return usual + shortest
  }

  /// How the guest's data is encrypted, and whether it can be read; nil if it is not.
  private var encryptionName: String? {
    let image = desk.scene.image
    guard image.header.cryptMethod != 0 else { return nil }
    return (image.header.cryptMethod == 2 ? "LUKS" : "AES") + (image.isUnlocked ? "" : ", locked")
  }

  // MARK: Focus

  /// - Throws: `CommandError` for a number that no pane has.
  func focus(_ pane: Int) throws(CommandError) {
    guard let number = PaneNumber(rawValue: pane) else {
      throw CommandError("the panes are 1, 2, 3 and 4")
    }
    setFocus(number)
  }

  private func setFocus(_ pane: PaneNumber) {
    desk.show(.explorer)
    focus = pane
    hidden.remove(pane)
    switch pane {
    case .guestMap: turnCursor(to: .guest)
    case .hostMap: turnCursor(to: .host)
    // The log stays where "Where is it?" was until that is asked for again.
    case .place: showsLog = false
    case .log:
      showsLog = true
      log.selectNewest()
    }
  }

  /// The map that the cursor moved on last has the keys, if one of the maps has them.
  func followCursor() {
    guard focus == .guestMap || focus == .hostMap else { return }
    focus = desk.cursor.side == .guest ? .guestMap : .hostMap
    hidden.remove(focus)
  }

  private func turnCursor(to side: Side) {
    guard desk.cursor.side != side else { return }
    desk.cursor.side = side
    desk.reanchor()
  }

  func focusNext(_ step: Int) {
    let all = PaneNumber.allCases.filter { !hidden.contains($0) || $0 == focus }
    let at = all.firstIndex(of: focus) ?? 0
    setFocus(all[(at + step % all.count + all.count) % all.count])
  }

  func focus(at point: Point, _ frame: ScreenFrame) {
    let layout = layout
    for pane in PaneNumber.allCases where layout.room(pane).frame.contains(point) && focus != pane {
      setFocus(pane)
    }
  }

  var address: Address { .maps(focus) }
  func restore(_ address: Address) { focus = PaneNumber(rawValue: Int(address[0])) ?? .guestMap }

  func keepsake() -> () -> Void {
    let (focus, showsLog, hidden, isEnlarged) = (focus, showsLog, hidden, isEnlarged)
    let panes = PaneNumber.allCases.map { pane($0).keepsake() }
    return {
      self.focus = focus
      self.showsLog = showsLog
      self.hidden = hidden
      self.isEnlarged = isEnlarged
      for restore in panes { restore() }
    }
  }

  func settle() {
    let layout = layout
    for number in PaneNumber.allCases { pane(number).settle(layout.room(number)) }
  }

  func imageChanged(at offset: UInt64?) {
    desk.reanchor()
    // The guest side moves to what changed unless it is in view of the cursor already.
    if let offset, desk.cursor.side == .guest { desk.setCursor(.guest, offset) }
  }

  func sessionWasReplaced() {
    sheet = nil
    snapshotOfOwner = nil
    compared = nil
    log.sessionWasReplaced()
  }

  // MARK: Answers

  func move(_ movement: Movement, _ count: Int) { pane(focus).move(movement, count, room(focus)) }
  func follow() throws(CommandError) { try pane(focus).follow() }

  func find(_ text: String, forward: Bool) throws(CommandError) -> Bool {
    try pane(focus).find(text, forward: forward)
  }

  /// The side of the cursor is searched, as far as it is known.
  var searchScope: String {
    if focus == .log { return "in the log" }
    let side =
      desk.cursor.side == .guest ? desk.diskWords : desk.host.isData ? "in the data file" : "in the file"
    return side + (desk.scene.atlas.isDone ? "" : " so far, as the scan is not at its end")
  }

  func click(at point: Point, _ frame: ScreenFrame) {
    let layout = layout
    for number in PaneNumber.allCases { pane(number).click(at: point, layout.room(number)) }
  }

  func goToOtherSide() throws(CommandError) {
    let (from, to): (PaneNumber, PaneNumber) =
      desk.cursor.side == .guest ? (.guestMap, .hostMap) : (.hostMap, .guestMap)
    guard desk.cursor.isTwinned else {
      let key = desk.key(.focus, String(to.rawValue))
      if from == .guestMap, let host = desk.place.host {
        throw CommandError(
          "the entry leads to host 0x\(Notation.hex(host.value)), behind the end of the file; "
            + "\(key) goes to the host map as it was left")
      }
      throw CommandError(
        from == .guestMap
          ? "no host cluster belongs to this guest place; \(key) goes to the host map as it was left"
          : "no guest place belongs to this host cluster; \(key) goes to the guest map as it was left")
    }
    desk.remember()
    focus = to
    desk.setCursor(
      to == .hostMap ? .host : .guest, to == .hostMap ? desk.cursor.host : desk.cursor.guest)
  }

  func offersSnapshot(for command: CommandID) -> Bool { focus != .log }

  func zoom(_ target: ZoomTarget, _ count: Int) throws(CommandError) {
    let isHost = focus == .hostMap || (focus != .guestMap && desk.cursor.side == .host)
    try map(isHost ? .host : .guest).zoom(target, count, room(isHost ? .hostMap : .guestMap))
  }

  /// Sets the zoom of one side, as far as it can be.
  func zoomWindow(of side: Side, _ target: ZoomTarget) {
    try? map(side).zoom(target, 1, room(side == .guest ? .guestMap : .hostMap))
  }

  func choose(_ name: String?) throws(CommandError) {
    if let name {
      guard let lens = Lens.allCases.first(where: { $0.name.hasPrefix(name) && !name.isEmpty }) else {
        throw CommandError(
          "'\(name)' is not a lens; there are " + Lens.allCases.map(\.name).joined(separator: ", "))
      }
      self.lens = lens
    } else {
      lens = lens.next
    }
    desk.tell("lens \(lens.name): \(lens.help)")
  }

  /// The lens of the owners, for one snapshot or for all; nil goes on to the next.
  ///
  /// - Throws: `CommandError` for a name that no snapshot has.
  func chooseOwner(_ name: String?) throws(CommandError) {
    let snapshots = desk.session.image.snapshots
    let wasShown = lens == .owner
    lens = .owner
    if let name {
      guard let index = snapshots.index(idOrName: name) else {
        guard name == "all" else {
          throw CommandError("no snapshot has the ID or name '\(Escaping.human(name))'")
        }
        return choose(owner: nil)
      }
      return choose(owner: index)
    }
    guard wasShown, !snapshots.isEmpty else { return choose(owner: snapshotOfOwner) }
    let next = snapshotOfOwner.map { $0 + 1 } ?? 0
    choose(owner: next < snapshots.count ? next : nil)
  }

  /// The lens of the difference from a state or a file; nil for how the image was opened.
  func compare(with state: ComparedState?) {
    compared = state
    comparisons += 1
    lens = .difference
    desk.tell(
      "lens difference: \(view.sheet?.subject ?? "not of this state"); +: only here, -: only there, ~: otherwise"
    )
  }

  private func choose(owner: Int?) {
    let snapshots = desk.session.image.snapshots
    snapshotOfOwner = owner.flatMap { snapshots.indices.contains($0) ? $0 : nil }
    guard let index = snapshotOfOwner else { return desk.tell("lens owner: \(Lens.owner.help)") }
    guard index < HolderMap.maximumSnapshots else {
      snapshotOfOwner = nil
      return desk.tell("only the first \(HolderMap.maximumSnapshots) snapshots are told apart", error: true)
    }
    desk.tell(
      "lens owner: snapshot \(Escaping.human(snapshots[index].name)), o: it alone, d: the disk too, "
        + "s: other snapshots, not the disk, -: not it")
  }

  var searched: (side: Side, offset: UInt64, file: HostFileKind)? {
    let cursor = desk.cursor
    return (cursor.side, cursor.side == .guest ? cursor.guest : cursor.host, cursor.file)
  }

  /// The bytes of the place; without a host cluster the entry that says so is what there is to see.
  var hexStart: (offset: UInt64, file: HostFileKind)? {
    guard desk.cursor.side == .guest, !desk.cursor.isTwinned else {
      return (desk.cursor.host, desk.cursor.file)
    }
    let place = desk.place
    return (place.l2?.address ?? place.l1?.address).map { ($0.value, .image) }
  }

  var operation: Int? { focus == .log ? log.operation : nil }

  func close() throws(CommandError) {
    // The innermost thing first.
    if isEnlarged { isEnlarged = false } else if !desk.leave() { try Saving.quit(force: false, desk) }
  }

  /// The pane that has the keys takes all of the screen, or gives it back.
  func enlarge() {
    desk.show(.explorer)
    isEnlarged.toggle()
    desk.settle()
  }

  /// Puts the pane away that has the keys; without one that may go, all come back.
  ///
  /// - Throws: `CommandError` for the last map.
  func hide() throws(CommandError) {
    if isEnlarged { isEnlarged = false }
    let maps: Set<PaneNumber> = [.guestMap, .hostMap]
    guard !maps.contains(focus) || hidden.isDisjoint(with: maps) else {
      throw CommandError("one of the maps stays; \(CommandID.panes) shows all panes again")
    }
    let pane = focus
    hidden.insert(pane)
    setFocus(hidden.contains(.guestMap) ? .hostMap : .guestMap)
    desk.tell("pane \(pane.rawValue) is hidden; \(desk.key(.focus, String(pane.rawValue))) shows it again")
  }

  /// All panes, beside each other.
  func showAll() {
    desk.show(.explorer)
    hidden = []
    isEnlarged = false
  }

  /// The host map shows the other file of an image with an external data file.
  func showOtherFile() {
    desk.remember()
    focus = .hostMap
    desk.cursor.file = desk.cursor.file == .data ? .image : .data
    desk.cursor.side = .host
    desk.settle()
    desk.setCursor(.host, min(desk.cursor.host, max(1, desk.host.total) - 1))
  }
}

extension Desk {
  /// The snapshot that the lens of the owners is about; nil for all.
  var chosenSnapshot: Int? { screen(MapsScreen.self)?.snapshotOfOwner }
  /// What the lens of the difference compares with; nil if that was not said.
  var compared: ComparedState? { screen(MapsScreen.self)?.compared }
}

extension Explorer {
  /// The number of the pane of the maps that has the keys, 1 ... 4.
  package var focus: Int { desk.screen(MapsScreen.self)?.focus.rawValue ?? 1 }
  /// What the maps show.
  package var lens: Lens { desk.screen(MapsScreen.self)?.lens ?? .kind }
}
