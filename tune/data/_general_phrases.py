"""Words of the general guard pairs: everyday requests, each in several phrasings, and the things they are about.

Constants only. Rows are drawn by position, so reordering them changes the pairs.
"""

from typing import Final

Topic = tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]
"""The things {x} that a topic is about, and its requests, each as phrasings that mean the same."""

TOPICS: Final[tuple[Topic, ...]] = (
    (
        ("eggs", "potatoes", "noodles", "lentils", "carrots", "dumplings", "beans"),
        (
            (
                "How long should I boil {x}?",
                "What is the cooking time for {x} in hot water?",
                "When are {x} done if I cook them in a pan of water?",
                "For how many minutes do {x} have to simmer?",
            ),
            (
                "How long can I keep cooked {x} in the fridge?",
                "When do leftover {x} go bad?",
                "Are {x} from three days ago still safe to eat?",
                "How many days do {x} last in the refrigerator?",
            ),
            (
                "How many calories are there in {x}?",
                "Are {x} fattening?",
                "What is the energy content of a plate of {x}?",
                "I am on a diet: how much do {x} count?",
            ),
            (
                "Where can I buy cheap {x} in bulk?",
                "Which shop sells large bags of {x} at a low price?",
                "I am looking for a wholesaler of {x}.",
                "Who has a good offer on big packs of {x}?",
            ),
        ),
    ),
    (
        ("Leeds", "Lyon", "Madrid", "Oslo", "Vienna", "Porto", "Prague"),
        (
            (
                "When does the last train to {x} leave?",
                "What time is the final departure for {x} tonight?",
                "How late can I still catch a train that goes to {x}?",
                "Until when do trains run towards {x} in the evening?",
            ),
            (
                "When does the train from {x} arrive?",
                "What time will the people coming from {x} get here?",
                "I am meeting someone off the {x} train, when is it due?",
                "At what hour does the service from {x} pull in?",
            ),
            (
                "How much is a return ticket to {x}?",
                "What does it cost to go to {x} and back?",
                "What is the fare to {x}, both ways?",
                "How expensive is a round trip to {x}?",
            ),
            (
                "What is the weather like in {x} in spring?",
                "Is it warm in {x} around April?",
                "Which clothes do I need for {x} in March and April?",
                "How mild is the climate of {x} after the winter?",
            ),
        ),
    ),
    (
        ("dog", "cat", "rabbit", "parrot", "hamster", "tortoise", "pony"),
        (
            (
                "My {x} has stopped eating, what should I do?",
                "What can be wrong if a {x} refuses its food?",
                "Our {x} has no appetite. Any advice?",
                "The {x} leaves its bowl untouched, is it ill?",
            ),
            (
                "How often should I feed my {x}?",
                "How many meals a day does a {x} need?",
                "What is a good feeding schedule for a {x}?",
                "At which times of day does a {x} get its food?",
            ),
            (
                "Who can look after our {x} during the holidays?",
                "I need a sitter for my {x} while I am away.",
                "Where can a {x} stay when its owners travel?",
                "We are off for two weeks, who takes in a {x}?",
            ),
            (
                "How old does a {x} get?",
                "What is the life span of a {x}?",
                "For how many years does a {x} usually live?",
                "What age can I expect a healthy {x} to reach?",
            ),
        ),
    ),
    (
        ("roses", "tomatoes", "tulips", "apple trees", "strawberries", "lavender plants", "grape vines"),
        (
            (
                "When is the best time to plant {x}?",
                "In which month do {x} go into the ground?",
                "Is autumn or spring better for planting {x}?",
                "How early in the year can I put in {x}?",
            ),
            (
                "How much water do {x} need?",
                "How often do I have to water {x}?",
                "Do {x} like wet or dry soil?",
                "Can {x} cope with a week without rain?",
            ),
            (
                "How do I prune {x}?",
                "What is the right way to cut back {x}?",
                "Where on the stem do I cut {x}?",
                "Which shoots of {x} should come off?",
            ),
            (
                "Something is eating the leaves of my {x}.",
                "How do I get rid of pests on {x}?",
                "There are insects all over our {x}, what helps?",
                "What keeps caterpillars away from {x}?",
            ),
        ),
    ),
    (
        ("washing machine", "dishwasher", "fridge", "cooker", "tumble dryer", "kettle", "vacuum cleaner"),
        (
            (
                "My {x} does not switch on any more.",
                "The {x} is dead, nothing happens when I press the button.",
                "Why is there no sign of life from my {x}?",
                "How do I find out why the {x} will not start?",
            ),
            (
                "Why is my {x} so loud?",
                "The {x} makes a terrible noise.",
                "What causes a {x} to rattle and hum?",
                "How do I make a {x} quieter?",
            ),
            (
                "How do I clean the inside of a {x}?",
                "What removes dirt and smells from a {x}?",
                "Our {x} stinks, what is the best way to scrub it?",
                "Which household cleaner is safe for a {x}?",
            ),
            (
                "Which {x} uses the least electricity?",
                "What is the most efficient {x} on the market?",
                "I want a {x} that saves power, which one?",
                "How do I find a {x} with a low energy bill?",
            ),
        ),
    ),
    (
        ("knee", "back", "shoulder", "neck", "ankle", "wrist", "hip"),
        (
            (
                "My {x} hurts after running.",
                "Why do I get a sore {x} when I jog?",
                "I feel pain in the {x} after a long run.",
                "Jogging gives me an aching {x}, what is the cause?",
            ),
            (
                "Which exercises strengthen the {x}?",
                "How do I train the muscles around my {x}?",
                "What workout makes for a strong {x}?",
                "Can you name some drills that build up the {x}?",
            ),
            (
                "How long does an operation on the {x} take?",
                "How many hours does {x} surgery last?",
                "What is the duration of a {x} operation?",
                "When will I be out of theatre after {x} surgery?",
            ),
            (
                "Which doctor treats a broken {x}?",
                "I fractured my {x}, whom do I see?",
                "Is there a specialist for {x} fractures?",
                "Where do I go with what may be a broken {x}?",
            ),
        ),
    ),
    (
        ("German", "Spanish", "Japanese", "Italian", "Arabic", "Polish", "Swedish"),
        (
            (
                "What is the fastest way to learn {x}?",
                "How can I become fluent in {x} quickly?",
                "Which method gets me speaking {x} in a short time?",
                "I have three months to pick up {x}, any tips?",
            ),
            (
                "How hard is {x} grammar?",
                "Are the rules of {x} difficult to understand?",
                "Is it tricky to build correct sentences in {x}?",
                "Does {x} have complicated cases and verb forms?",
            ),
            (
                "Can somebody translate this letter into {x}?",
                "I need this short document in {x}.",
                "Who puts my text into {x} for a fair price?",
                "Where do I find a translator for {x}?",
            ),
            (
                "Which films should I watch in {x}?",
                "Can you recommend some cinema from the {x} speaking world?",
                "What are the best movies whose dialogue is in {x}?",
                "I would like to see a good {x} picture tonight.",
            ),
        ),
    ),
    (
        ("a mortgage", "a car loan", "a student loan", "a credit card", "an overdraft", "a savings account"),
        (
            (
                "How do I apply for {x}?",
                "Which papers does the bank want before it grants {x}?",
                "What are the steps to get {x}?",
                "I would like {x}, where do I begin?",
            ),
            (
                "What is the interest rate on {x}?",
                "How much per cent does the bank charge or pay on {x}?",
                "Which interest is usual for {x} at the moment?",
                "What annual rate comes with {x}?",
            ),
            (
                "Can I cancel {x} before the end of the term?",
                "How do I get out of {x} early?",
                "Is there a fee for ending {x} ahead of time?",
                "I want to close {x} now, is that allowed?",
            ),
        ),
    ),
    (
        ("phone", "laptop", "tablet", "camera", "printer", "television", "game console"),
        (
            (
                "The screen of my {x} is cracked.",
                "Who repairs a broken display on a {x}?",
                "I dropped my {x} and the glass is shattered.",
                "How much is a new screen for a {x}?",
            ),
            (
                "How do I reset my {x} to factory settings?",
                "What erases everything on a {x} before I sell it?",
                "I want to wipe a {x} so that it is like new.",
                "Which menu restores the {x} to its original state?",
            ),
            (
                "My {x} does not connect to the wireless network.",
                "Why is there no internet on my {x}?",
                "The {x} cannot find our router.",
                "How do I get a {x} online at home?",
            ),
            (
                "Is it worth buying a used {x}?",
                "What should I check on a second-hand {x}?",
                "Are refurbished {x}s any good?",
                "I am thinking of getting an older {x} from a private seller.",
            ),
        ),
    ),
    (
        ("maths", "physics", "history", "chemistry", "geography", "biology", "music"),
        (
            (
                "My daughter needs private lessons in {x}.",
                "Can you suggest a tutor for {x}?",
                "Who helps a pupil catch up in {x}?",
                "We are looking for extra {x} tuition for our child.",
            ),
            (
                "When is the {x} exam?",
                "On which day do we sit the {x} paper?",
                "What is the date of the test in {x}?",
                "How many days are left until the {x} examination?",
            ),
            (
                "What jobs are there with a degree in {x}?",
                "Which careers are open to someone who studied {x}?",
                "Where do graduates of {x} find work?",
                "Is a {x} diploma any use on the labour market?",
            ),
            (
                "Who is the new {x} teacher?",
                "What is the name of the person who now teaches {x}?",
                "Which member of staff has taken over the {x} classes?",
                "Has anyone met the teacher who has started in {x}?",
            ),
        ),
    ),
    (
        ("piano", "guitar", "violin", "drum kit", "flute", "trumpet", "cello"),
        (
            (
                "How do I tune a {x}?", "My {x} sounds off, how do I get the pitch right?",
                "What do I need to bring a {x} back in tune?", "Who sets the pitch of an old {x}?",
            ),
            (
                "At what age can a child start the {x}?",
                "Is a boy of five too young for {x} lessons?",
                "How old should children be to learn the {x}?",
                "When can kids begin to play the {x}?",
            ),
            (
                "May I practise the {x} in a flat?",
                "The neighbours complain when I play the {x}.",
                "During which hours is it fine to play a {x} at home?",
                "How do I keep my {x} from disturbing people next door?",
            ),
            (
                "What does a decent {x} for beginners cost?",
                "How much money do I need for my first {x}?",
                "Is there a good starter {x} on a small budget?",
                "What is the price range of an entry-level {x}?",
            ),
        ),
    ),
    (
        ("kitchen", "bathroom", "bedroom", "hallway", "cellar", "loft", "garage"),
        (
            (
                "Which colour suits a small {x}?",
                "What paint makes a {x} look larger?",
                "In which shade should we do the walls of our {x}?",
                "I cannot decide on a colour for the {x}.",
            ),
            (
                "There is mould in the corner of the {x}.",
                "How do I get rid of black spots on the {x} wall?",
                "Why is our {x} so damp?",
                "What stops fungus from growing in the {x}?",
            ),
            (
                "The light in the {x} flickers.", "Why does the lamp in our {x} keep going on and off?",
                "What makes a bulb in the {x} blink?", "Our {x} lighting is unsteady, is that dangerous?",
            ),
            (
                "How do I lay tiles in the {x}?", "What do I need to tile the floor of a {x}?",
                "Can a layman put ceramic flooring into a {x}?", "In which order does one tile a {x}?",
            ),
        ),
    ),
)  # fmt: skip
