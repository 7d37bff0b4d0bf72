"""Words of the demo pairs: names, phrasings and small talk of Osierly, an invented till for farm shops.

Constants only. Rows are drawn by position, so reordering them changes the data.
"""

from typing import Final

# One feature per row: two house names that only insiders know to mean the same thing, and a newcomer's name for it.
# Some names of different features share a word (Lantern, Purse, Thistle), as house names do.
FEATURES: Final[tuple[tuple[str, str, str], ...]] = (
    ("Kestrel", "Swift Purse", "the same-day payout"),
    ("Barn Owl", "Slow Purse", "the weekly payout"),
    ("Blue Lantern", "Evening Post", "the nightly sales email"),
    ("Red Lantern", "Cellar Bell", "the low stock alarm"),
    ("Dovetail", "Twin Shelf", "the stock sync"),
    ("Dovecote", "Crumb Tin", "the loyalty card"),
    ("Thistle Gate", "Two Keys", "the refund approval"),
    ("Thistle Book", "Long Ledger", "the audit history"),
    ("Fallow Mode", "Closed Door", "the winter pause"),
    ("Quince", "Jar Tab", "the customer credit line"),
    ("Mallow", "Honey Round", "the subscription box"),
    ("Tansy", "Guest Basket", "the collection page"),
    ("Sparrow Pass", "Day Feather", "the temporary login"),
    ("Millstone", "Big Scale", "the weighing link"),
    ("Wren Talk", "Small Voice", "the text message receipt"),
    ("Bramble", "Hook Line", "the web shop connector"),
)

# One pair of opposite requests per block, one phrasing per line. Only "[this|that]" tells the two requests apart, so
# both readings of a line share nearly every word; two lines of a block share few. The last line of each block is in
# house dialect: verbs, codes and nouns that mean nothing elsewhere.
INTENTS: Final[tuple[tuple[str, ...], ...]] = (
    (
        "How do I switch {f} [on|off]?",
        "Where is the button that [starts|stops] {f}?",
        "We want to [begin|quit] using {f}, what should we press?",
        "Please [activate|deactivate] {f} on our account.",
        "Could somebody walk me through [enabling|disabling] {f}?",
        "Which menu is there to [wake|bed down] {f}?",
    ),
    (
        "Why was I [billed|reimbursed] for {f}?",
        "There is a [charge|credit] for {f} on my statement that I cannot place.",
        "My invoice lists {f} with twelve pounds [added|taken off], what is that?",
        "Did you [take money from|give money back to] us because of {f}?",
        "The bank shows an unknown [debit|deposit] with the words {f}.",
        "What is the [nettle|clover] mark beside {f} in the account book?",
    ),
    (
        "Can I [export|import] {f} records as a spreadsheet?",
        "How would one get figures [out of|into] {f}?",
        "Is there a file to [download from|upload to] {f}?",
        "My accountant hopes to [pull numbers from|push numbers to] {f}, is that possible?",
        "I have a table I need to [fetch from|load into] {f}.",
        "Do you offer a [scoop|funnel] for {f}?",
    ),
    (
        "Today {f} came an hour [late|early].",
        "Everything about {f} turns up [behind|ahead of] schedule.",
        "Why does {f} happen [later|sooner] than the time we set?",
        "We chose six o'clock and yet {f} runs at [seven|five].",
        "It seems {f} is [dragging its feet|jumping the gun] this week.",
        "What does code [T-70|T-07] next to {f} mean?",
    ),
    (
        "How do I [give|deny] a new cashier access to {f}?",
        "I need to [add Ruth to|remove Ruth from] the people who may open {f}.",
        "Where can staff be [allowed|forbidden] to touch {f}?",
        "Would you [unlock|lock] {f} for the Saturday team?",
        "Our bookkeeper should [now|no longer] be able to see {f}.",
        "How is a straw key [cut|burned] for {f}?",
    ),
    (
        "Can you [raise|lower] the limit of {f}?",
        "The cap on {f} is far too [tight|generous] for a place like ours.",
        "We would need a [bigger|smaller] allowance in {f}.",
        "What must be typed to [increase|reduce] the maximum for {f}?",
        "I think {f} ought to accept [more|less] than it does.",
        "Is it possible to [widen|narrow] the fence of {f}?",
    ),
    (
        "Half of the lines in {f} are [missing|doubled].",
        "For some reason {f} [skips|repeats] a few of our sales.",
        "Why do I find [no entry|two entries] per item in {f}?",
        "Records have [vanished from|been copied within] {f}, please look.",
        "Since Monday {f} [leaves things out|shows things twice].",
        "The screen says M-[12|21] as soon as {f} opens.",
    ),
    (
        "How can the second shop [join|leave] {f}?",
        "I would like to [connect another location to|disconnect another location from] {f}.",
        "Please [include the garden kiosk in|exclude the garden kiosk from] {f}.",
        "Is there a way to [bring a branch under|take a branch out of] {f}?",
        "Our market stall wants [in on|out of] {f}.",
        "We are trying to [graft|prune] a stand with {f}.",
    ),
    (
        "I get [too many|hardly any] messages from {f}.",
        "How do I make {f} [quieter|louder]?",
        "Can the alerts of {f} be [cut down|turned up]?",
        "All day long {f} [floods me with notices|keeps me in the dark].",
        "My phone [never stops buzzing|never buzzes] over {f}.",
        "Should the chirp level of {f} be set to [one|nine]?",
    ),
)

# Small talk around the question. It says nothing about what is asked; a model has to learn to ignore it.
OPENERS: Final[tuple[str, ...]] = (
    "Hello!",
    "Good morning.",
    "Quick one:",
    "Sorry to bother you again.",
    "New to Osierly here.",
    "Asking for my business partner.",
    "We run a small farm shop near the coast.",
    "I searched the help pages first.",
    "This is about our Hazel plan.",
    "We are on the Acorn plan.",
    "Just moved over from paper books.",
    "Writing from the cheese counter.",
    "Our busiest weekend is coming.",
    "Three tills, one tablet.",
    "My colleague could not tell me.",
    "Not urgent.",
    "Urgent, please!",
    "Since the spring update I wonder:",
    "The shop opens in an hour.",
    "I am on the Android app.",
    "Your phone line was engaged.",
    "Question from the bakery:",
    "I read last month's newsletter.",
    "We sell eggs and vegetables.",
)

CLOSERS: Final[tuple[str, ...]] = (
    "Thanks!",
    "Many thanks, Orla",
    "Any hint helps.",
    "I use the counter tablet.",
    "Please answer by email.",
    "We close at five.",
    "A screenshot is attached.",
    "Restarting changed nothing.",
    "The manual is silent on this.",
    "Best wishes from the orchard",
    "My boss is asking.",
    "It is the same on both tills.",
    "Happy to call if that is easier.",
    "We have four people on the team.",
    "I am the owner.",
    "No rush at all.",
    "Sent from the barn.",
    "I could not find it in the app.",
    "It is for the shop in the village.",
    "Cheers, Tomasz",
    "Hope you can help before the weekend.",
    "The account is in my husband's name.",
)
